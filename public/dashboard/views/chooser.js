/** A list of all domains, of which one is chosen. */
import { useState } from '../../vendor/preact-hooks.js'
import { counted, countText } from '../format.js'
import { html, Swatch } from '../html.js'
import { Where } from './domain-table.js'
import { FindDomain } from './find-domain.js'

/** Domains that are listed; the others are found by their names. */
const LISTED = 200
/** From so many on there is a field to find one. */
const FIND_FROM = 12

/** @param {{ domains: import('../types.js').Domain[], chosen: string, hues: Map<string, number> }} props */
export function Chooser({ domains, chosen, hues }) {
  const [wanted, setWanted] = useState('')
  const found = domains.filter(({ domain }) => domain.includes(wanted.trim().toLowerCase()))
  return html`
    <section class="card" aria-labelledby="choose-title">
      <h2 id="choose-title">${counted(domains.length, 'domain')}</h2>
      ${domains.length >= FIND_FROM && html`<${FindDomain} wanted=${wanted} onWanted=${setWanted} />`}
      <ul class="chooser">
        ${found.slice(0, LISTED).map(
          (each) => html`<li key=${each.domain}>
            <a href="#/manage/${encodeURIComponent(each.domain)}" aria-current=${each.domain === chosen ? 'true' : undefined}>
              <${Swatch} hue=${hues.get(each.domain)} /><span class="name">${each.domain}</span>
            </a>
            <${Where} ...${each} brief=${true} />
          </li>`,
        )}
      </ul>
      ${found.length > LISTED && html`<p class="muted">and ${countText(found.length - LISTED)} more</p>`}
    </section>
  `
}
