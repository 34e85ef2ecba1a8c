/** The domains: version, accuracy by their cards, images answered, and where each is. */
import { useEffect, useState } from '../../vendor/preact-hooks.js'
import { accuracyText, bytesText, counted, countText, shortVersion } from '../format.js'
import { html, Swatch } from '../html.js'
import { FindDomain } from './find-domain.js'

/** Rows that are shown at first, and more of them at a time. */
const ROWS = 25

/** @param {{ service: import('../service.js').Service, state: import('../service.js').State,
 *   hues: Map<string, number> }} props */
export function DomainTable({ service, state, hues }) {
  const [wanted, setWanted] = useState('')
  const [most, setMost] = useState(ROWS)
  const { domains, cards, readings } = state
  const found = domains.filter(({ domain }) => domain.includes(wanted.trim().toLowerCase()))
  const shown = found.slice(0, most)
  const answered = readings.at(-1)?.images
  useEffect(() => void service.readCards(shown), [domains, wanted, most])
  return html`
    <section class="card" aria-labelledby="domains-title">
      <div class="title-row">
        <h2 id="domains-title">Domains</h2>
        <${FindDomain} wanted=${wanted} onWanted=${setWanted} />
      </div>
      <p class="sr-only" role="status">${wanted === '' ? '' : `${counted(found.length, 'domain')} found`}</p>
      <div class="table-box">
        <table>
          <thead>
            <tr>
              <th scope="col">Domain</th>
              <th scope="col" class="wide-only">Version</th>
              <th scope="col" class="number">Accuracy</th>
              <th scope="col" class="number wide-only">Classes</th>
              <th scope="col" class="number wide-only">Answered</th>
              <th scope="col">Where</th>
            </tr>
          </thead>
          <tbody>
            ${shown.map(
              (domain) => html`<${Row} key=${domain.domain} domain=${domain} hue=${hues.get(domain.domain)}
              card=${cards.get(domain.version ?? '')} answered=${answered?.get(domain.domain)} />`,
            )}
          </tbody>
        </table>
      </div>
      ${found.length === 0 && html`<p class="muted">No domain has “${wanted}” in its name.</p>`}
      <p class="muted">Accuracy is what each pack says of itself.</p>
      ${found.length > most && html`<button type="button" onClick=${() => setMost(most + 4 * ROWS)}>Show more of ${countText(found.length)}</button>`}
    </section>
  `
}

/** @param {{ domain: import('../types.js').Domain, hue: number | undefined,
 *   card: import('../types.js').Card | undefined, answered: number | undefined }} props */
function Row({ domain: { domain, version, family, classes, ...where }, hue, card, answered }) {
  return html`
    <tr>
      <th scope="row">
        <a href="#/manage/${encodeURIComponent(domain)}"><${Swatch} hue=${hue} />${domain}</a>
        <span class="under">${[card?.name, family].filter(Boolean).join(' · ')}</span>
      </th>
      <td class="wide-only"><code>${version === null ? '–' : shortVersion(version)}</code></td>
      <td class="number">${accuracyText(card?.metrics) ?? '–'}</td>
      <td class="number wide-only">${classes === 0 ? 'features' : countText(classes)}</td>
      <td class="number wide-only">${answered === undefined ? '–' : countText(answered)}</td>
      <td><${Where} ...${where} /></td>
    </tr>
  `
}

/** Where a domain's active version is.
 * @param {Pick<import('../types.js').Domain, 'residency' | 'pinned' | 'bytes' | 'failure'> & { brief?: boolean }} props */
export function Where({ residency, pinned, bytes, failure, brief = false }) {
  const words = {
    resident: 'in memory',
    cold: 'on disk',
    loading: 'being loaded',
    failed: 'failed',
    inactive: 'not active',
  }
  const size = residency === 'resident' && !brief ? `, ${bytesText(bytes.resident)}` : ''
  return html`
    <span class="badge ${residency}" title=${failure}>${words[residency]}<span class="wide-only">${size}</span></span>
    ${pinned && !brief && html` <span class="badge">pinned</span>`}
  `
}
