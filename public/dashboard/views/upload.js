/** A new pack: dropped or chosen, given a domain, sent; everything that is wrong with it is told in place. */
import { useState } from '../../vendor/preact-hooks.js'
import { domainPath } from '../api.js'
import { bytesText, domainIdOf, shortVersion } from '../format.js'
import { Failure, html } from '../html.js'
import { DropBox } from './drop-box.js'

/** The rule for domain ids. */
const DOMAIN_ID = '[a-z0-9][a-z0-9._\\-]{0,62}'

/** @param {{ api: import('../api.js').Api, service: import('../service.js').Service,
 *   domains: import('../types.js').Domain[], onToken: () => void }} props */
export function Upload({ api, service, domains, onToken }) {
  const [pack, setPack] = useState(/** @type {File | null} */ (null))
  const [id, setId] = useState('')
  const [active, setActive] = useState(true)
  const [busy, setBusy] = useState(false)
  const [error, setError] = useState(/** @type {unknown} */ (null))
  const [done, setDone] = useState(/** @type {{ domain: string, text: string } | null} */ (null))
  const exists = domains.some(({ domain }) => domain === id)

  const given = (/** @type {File[]} */ [file]) => {
    if (!file) return
    setPack(file)
    setError(null)
    setDone(null)
    if (id === '') setId(domainIdOf(file.name))
  }
  const send = async (/** @type {Event} */ event) => {
    event.preventDefault()
    if (pack === null) return
    setBusy(true)
    setError(null)
    setDone(null)
    try {
      const answer = await api.send(`${domainPath(id)}?activate=${active}`, {
        method: 'PUT',
        body: pack,
        headers: { 'content-type': 'application/octet-stream' },
      })
      const { uploaded } = await answer.json()
      const what =
        answer.status === 201 ? 'is a new domain' : active ? 'has a new active version' : 'has a new version'
      setDone({
        domain: id,
        text: `${what}, ${shortVersion(uploaded)}${active ? ', live now' : ', not active yet'}.`,
      })
      setPack(null)
      setId('')
      void service.refresh()
    } catch (failed) {
      setError(failed)
    }
    setBusy(false)
  }
  return html`
    <section class="card" aria-labelledby="upload-title">
      <h2 id="upload-title">Register a pack</h2>
      <form onSubmit=${send}>
        <${DropBox} accept=".safetensors" multiple=${false} what="a pack file" onFiles=${given} />
        ${pack && html`<p class="file">${pack.name} <span class="muted">${bytesText(pack.size)}</span></p>`}
        <div class="field">
          <label for="upload-domain">Domain</label>
          <input id="upload-domain" value=${id} required pattern=${DOMAIN_ID} maxlength="63" autocomplete="off" spellcheck=${false}
            aria-describedby="upload-domain-rule"
            onInput=${(/** @type {{ currentTarget: HTMLInputElement }} */ { currentTarget }) => setId(currentTarget.value)} />
          <p id="upload-domain-rule" class="muted">
            ${exists ? 'This domain exists: the pack becomes a version of it.' : 'Small letters, digits, and . _ - after the first.'}
          </p>
        </div>
        <label class="check">
          <input type="checkbox" checked=${active} onChange=${(/** @type {{ currentTarget: HTMLInputElement }} */ { currentTarget }) => setActive(currentTarget.checked)} />
          Make it active at once
        </label>
        <button type="submit" class="primary" disabled=${busy || pack === null}>${busy ? 'Checking and storing …' : 'Register'}</button>
      </form>
      ${error && html`<${Failure} error=${error} onToken=${onToken} />`}
      <p role="status" class=${done ? 'notice good' : 'sr-only'}>
        ${done && html`<a href="#/manage/${encodeURIComponent(done.domain)}">${done.domain}</a> ${done.text}`}
      </p>
    </section>
  `
}
