/** Images for one domain or for all, and what they say. */
import { useEffect, useRef, useState } from '../../vendor/preact-hooks.js'
import { counted } from '../format.js'
import { Failure, html } from '../html.js'
import { predict } from '../predict.js'
import { groupsOf } from '../requests.js'
import { huesOf } from '../scale.js'
import { Camera } from './camera.js'
import { DropBox } from './drop-box.js'
import { Results } from './results.js'

const ALL = ''
/** Labels that are shown of one domain, and of each of many. */
const LABELS = { one: 5, each: 3 }

/**
 * @typedef {{ image: File, outcomes: import('../predict.js').Outcome[], timings: import('../predict.js').Timings,
 *   requests: number }} Answer
 */

/** @param {import('./overview.js').ViewProps} props */
export function Try({ api, service, state, domain, onToken }) {
  const { domains, failure } = state
  const able = domains.filter(
    ({ version, classes, residency }) => version !== null && classes > 0 && residency !== 'failed',
  )
  const [wanted, setWanted] = useState(domain)
  const [images, setImages] = useState(/** @type {File[]} */ ([]))
  const [answers, setAnswers] = useState(/** @type {Answer[]} */ ([]))
  const [busy, setBusy] = useState(false)
  const [error, setError] = useState(/** @type {unknown} */ (null))
  const [camera, setCamera] = useState(false)
  const running = useRef(/** @type {AbortController | null} */ (null))
  // An address names a domain; one that gives no labels is not on offer.
  useEffect(() => setWanted(domain), [domain])
  const chosen = domains.length === 0 || able.some((each) => each.domain === wanted) ? wanted : ALL
  const together =
    images.length > 0 && images.every((image) => groupsOf(able.map(() => ({ image }))).length === 1)

  const ask = async (/** @type {File[]} */ files, /** @type {string} */ whom) => {
    running.current?.abort()
    const run = new AbortController()
    running.current = run
    setImages(files)
    setError(null)
    setAnswers([])
    setBusy(true)
    try {
      const labels = whom === ALL ? LABELS.each : LABELS.one
      const asked = whom === ALL ? able.map((each) => each.domain) : [whom]
      for (const image of files) {
        const parts = asked.map((each) => ({ domain: each, image }))
        const { outcomes, timings, requests } = await predict(api, parts, { labels, signal: run.signal })
        setAnswers((before) => [...before, { image, outcomes, timings, requests }])
      }
      void service.refresh()
    } catch (failed) {
      if (run.signal.aborted) return
      setError(failed)
    }
    if (running.current === run) setBusy(false)
  }
  useEffect(() => () => running.current?.abort(), [])

  const choose = (/** @type {string} */ whom) => {
    setWanted(whom)
    if (images.length > 0) void ask(images, whom)
  }
  const given = (/** @type {File[]} */ files) => {
    if (files.length > 0) void ask(files, chosen)
  }
  return html`
    <h1>Try</h1>
    ${failure && html`<${Failure} error=${failure} onToken=${onToken} />`}
    <section class="card try" aria-label="Images">
      <div class="field">
        <label for="domain">Domain</label>
        <select id="domain" value=${chosen} onChange=${(/** @type {{ currentTarget: HTMLSelectElement }} */ { currentTarget }) => choose(currentTarget.value)}>
          <option value=${ALL}>All ${able.length} domains${together && ', in one request'}</option>
          ${able.map((each) => html`<option value=${each.domain}>${each.domain}</option>`)}
        </select>
      </div>
      <${DropBox} accept="image/*" multiple=${true} what="images" onFiles=${given}>
        <button type="button" onClick=${() => setCamera(true)}>Use the camera</button>
      </${DropBox}>
    </section>
    <p class="status" role="status">${statusText(busy, answers, images)}</p>
    ${error && html`<${Failure} error=${error} onToken=${onToken} />`}
    ${answers.map((answer) => html`<${Results} answer=${answer} hues=${huesOf(domains.map((each) => each.domain))} cards=${state.cards} />`)}
    ${camera && html`<${Camera} onPicture=${(/** @type {File} */ file) => given([file])} onClose=${() => setCamera(false)} />`}
  `
}

/** @param {boolean} busy @param {Answer[]} answers @param {File[]} images */
function statusText(busy, answers, images) {
  if (busy) return `Asking about ${counted(images.length, 'image')} …`
  if (answers.length === 0) return ''
  const results = answers.flatMap(({ outcomes }) => outcomes)
  const refused = results.filter(({ error }) => error !== undefined).length
  return `${counted(results.length - refused, 'answer')}${refused > 0 ? `, ${refused} refused` : ''}.`
}
