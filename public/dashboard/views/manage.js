/** Changes: a new pack, and a domain's versions. */
import { counted } from '../format.js'
import { Failure, html, Swatch } from '../html.js'
import { huesOf } from '../scale.js'
import { DomainPanel } from './domain.js'
import { Where } from './domain-table.js'
import { Upload } from './upload.js'

/** @param {import('./overview.js').ViewProps} props */
export function Manage({ api, service, state, domain, onToken }) {
  const { domains, failure } = state
  const hues = huesOf(domains.map((each) => each.domain))
  return html`
    <h1>Manage</h1>
    ${failure && html`<${Failure} error=${failure} onToken=${onToken} />`}
    <div class="manage ${domain === '' ? '' : 'chosen'}">
      <section class="card" aria-labelledby="choose-title">
        <h2 id="choose-title">${counted(domains.length, 'domain')}</h2>
        <ul class="chooser">
          ${domains.map(
            (each) => html`<li key=${each.domain}>
              <a href="#/manage/${encodeURIComponent(each.domain)}" aria-current=${each.domain === domain ? 'true' : undefined}>
                <${Swatch} hue=${hues.get(each.domain)} /><span class="name">${each.domain}</span>
              </a>
              <${Where} ...${each} brief=${true} />
            </li>`,
          )}
        </ul>
      </section>
      ${
        domain === ''
          ? html`<p class="card muted hint">Choose a domain to see its versions.</p>`
          : html`<${DomainPanel} key=${domain} api=${api} service=${service} domain=${domain} known=${domains.find((each) => each.domain === domain)} onToken=${onToken} />`
      }
      <${Upload} api=${api} service=${service} domains=${domains} onToken=${onToken} />
    </div>
  `
}
