/** One domain: what it is, its versions, and what can be done with them. */
import { useEffect, useRef, useState } from '../../vendor/preact-hooks.js'
import { domainPath } from '../api.js'
import { accuracyText, bytesText, countText, dayText, shortVersion } from '../format.js'
import { Failure, html } from '../html.js'
import { Where } from './domain-table.js'

/** Labels that are listed; the others are counted. */
const LABELS = 60

/**
 * @param {{ api: import('../api.js').Api, service: import('../service.js').Service, domain: string,
 *   known: import('../types.js').Domain | undefined, tokens: number, onToken: () => void }} props `known`: the domain in
 *   the listing; `tokens`: how often a token was given
 */
export function DomainPanel({ api, service, domain, known, tokens, onToken }) {
  const [page, setPage] = useState(/** @type {import('../types.js').DomainPage | null} */ (null))
  const [unread, setUnread] = useState(/** @type {unknown} */ (null))
  const [error, setError] = useState(/** @type {unknown} */ (null))
  const [said, setSaid] = useState('')
  const [busy, setBusy] = useState(false)
  const [doomed, setDoomed] = useState(
    /** @type {{ what: string, remove: () => Promise<unknown> } | null} */ (null),
  )
  const title = useRef(/** @type {HTMLHeadingElement | null} */ (null))
  const path = domainPath(domain)

  const reads = useRef(0)

  const read = async () => {
    const turn = ++reads.current
    /** @type {import('../types.js').DomainPage | null} */
    let answer = null
    /** @type {unknown} */
    let failure = null
    try {
      answer = await api.json(path)
    } catch (failed) {
      failure = failed
    }
    // A later read, perhaps with another token, knows better.
    if (turn !== reads.current) return
    setPage(answer)
    setUnread(failure)
  }
  // Read again with another token, and where the listing shows that something has changed.
  useEffect(
    () => void read(),
    [domain, tokens, known?.version, known?.version_count, known?.pinned, known?.residency],
  )

  /** @param {string} done @param {() => Promise<unknown>} make */
  const change = async (done, make) => {
    setBusy(true)
    setError(null)
    setSaid('')
    try {
      await make()
      setSaid(done)
      await service.refresh()
      if (service.state.domains.some((each) => each.domain === domain)) await read()
      else setPage(null)
    } catch (failed) {
      setError(failed)
    }
    setBusy(false)
    // What had the focus may be gone.
    requestAnimationFrame(() => {
      if (document.activeElement === document.body) title.current?.focus()
    })
  }
  /** A change is of the state that is shown, and of no other. */
  const condition = () => (page?.version ? { 'if-match': `"${page.version}"` } : {})
  const activate = (/** @type {string} */ version) =>
    change(`${shortVersion(version)} is active.`, () =>
      api.change('POST', `${path}/activate`, { version }, condition()),
    )
  const pin = (/** @type {boolean} */ pinned) =>
    change(pinned ? 'Pinned: it stays in memory.' : 'Not pinned any more.', () =>
      api.change('PATCH', path, { pinned }),
    )
  const removeVersion = (/** @type {string} */ version) => () =>
    change(`${shortVersion(version)} is deleted.`, () =>
      api.send(`${path}/versions/${version}`, { method: 'DELETE' }),
    )
  const remove = () =>
    change(`${domain} is deleted.`, () => api.send(path, { method: 'DELETE', headers: condition() }))

  return html`
    <section class="card domain" aria-labelledby="domain-title">
      <a class="back" href="#/manage">All domains</a>
      <h2 id="domain-title" tabindex="-1" ref=${title}>${domain}</h2>
      ${(error ?? unread) && html`<${Failure} error=${error ?? unread} onToken=${onToken} />`}
      <p role="status" class=${said ? 'notice good' : 'sr-only'}>${said}</p>
      ${
        page &&
        html`
          <${About} page=${page} />
          <div class="actions">
            ${page.classes > 0 && html`<a class="button" href="#/try/${encodeURIComponent(domain)}">Try it</a>`}
            <button type="button" disabled=${busy} aria-pressed=${page.pinned} onClick=${() => pin(!page.pinned)}>${page.pinned ? 'Unpin' : 'Pin in memory'}</button>
            <button type="button" class="danger" disabled=${busy} onClick=${() => setDoomed({ what: `the domain ${domain} with all its versions`, remove })}>Delete the domain</button>
          </div>
          <${Versions} page=${page} busy=${busy} onActivate=${activate}
            onRemove=${(/** @type {string} */ version) => setDoomed({ what: `version ${shortVersion(version)} of ${domain}`, remove: removeVersion(version) })} />
        `
      }
      ${doomed && html`<${Confirm} what=${doomed.what} onYes=${doomed.remove} onClose=${() => setDoomed(null)} />`}
    </section>
  `
}

/** @param {{ page: import('../types.js').DomainPage }} props */
function About({ page }) {
  const { card, family, design, version, classes, updated } = page
  const labels = card?.labels ?? []
  /** @type {[string, any][]} */
  const rows = [
    ['Where', html`<${Where} ...${page} />`],
    ['Why it failed', page.failure],
    ['Active version', version && html`<code title=${version}>${shortVersion(version)}</code>`],
    ['Family', family && `${family}${design ? `, ${design}` : ''}`],
    ['Accuracy', accuracyText(card?.metrics)],
    ['Classes', classes > 0 ? countText(classes) : 'none: features alone'],
    ['Licence', card?.license],
    ['Changed', updated && dayText(updated)],
  ]
  return html`
    ${card?.name && html`<p class="lead">${card.name}</p>`}
    ${card?.description && html`<p class="muted">${card.description}</p>`}
    <dl class="about">
      ${rows.map(([name, value]) => value && html`<div><dt>${name}</dt><dd>${value}</dd></div>`)}
    </dl>
    ${
      labels.length > 0 &&
      html`<details>
        <summary>Labels</summary>
        <p class="labels">${labels.slice(0, LABELS).map((label) => html`<span>${label}</span>`)}${labels.length > LABELS && html`<span class="muted">and ${countText(labels.length - LABELS)} more</span>`}</p>
      </details>`
    }
  `
}

/**
 * @param {{ page: import('../types.js').DomainPage, busy: boolean, onActivate: (version: string) => void,
 *   onRemove: (version: string) => void }} props
 */
function Versions({ page, busy, onActivate, onRemove }) {
  const since = page.versions.find(({ active }) => active)?.created ?? ''
  return html`
    <h3 id="versions-title">Versions</h3>
    <ul class="versions" aria-labelledby="versions-title">
      ${page.versions.map(({ version, bytes, created, active, residency, design }) => {
        const verb = created < since ? 'Roll back' : 'Activate'
        return html`<li key=${version} class=${active ? 'active' : ''}>
          <span class="version-name"><code title=${version}>${shortVersion(version)}</code>
            ${active ? html` <span class="badge resident">active</span>` : residency === 'resident' && html` <span class="badge">in memory</span>`}</span>
          <span class="muted">${[created && dayText(created), bytesText(bytes), design].filter(Boolean).join(' · ')}</span>
          ${
            !active &&
            html`<span class="actions">
              <button type="button" disabled=${busy} aria-label="${verb} to ${shortVersion(version)}" onClick=${() => onActivate(version)}>${verb}</button>
              <button type="button" class="danger" disabled=${busy} aria-label="Delete version ${shortVersion(version)}" onClick=${() => onRemove(version)}>Delete</button>
            </span>`
          }
        </li>`
      })}
    </ul>
  `
}

/** @param {{ what: string, onYes: () => Promise<unknown>, onClose: () => void }} props */
function Confirm({ what, onYes, onClose }) {
  const dialog = useRef(/** @type {HTMLDialogElement | null} */ (null))
  useEffect(() => dialog.current?.showModal(), [])
  const yes = () => {
    dialog.current?.close()
    void onYes()
  }
  return html`
    <dialog ref=${dialog} onClose=${onClose} aria-labelledby="confirm-title">
      <h2 id="confirm-title">Delete?</h2>
      <p>This deletes ${what}. It cannot be undone.</p>
      <div class="actions">
        <button type="button" class="danger" onClick=${yes}>Delete</button>
        <button type="button" onClick=${() => dialog.current?.close()}>Keep</button>
      </div>
    </dialog>
  `
}
