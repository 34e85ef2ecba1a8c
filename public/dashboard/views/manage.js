/** Changes: a new pack, and a domain's versions. */
import { Failure, html } from '../html.js'
import { huesOf } from '../scale.js'
import { Chooser } from './chooser.js'
import { DomainPanel } from './domain.js'
import { Upload } from './upload.js'

/** @param {import('./overview.js').ViewProps} props */
export function Manage({ api, service, state, domain, onToken }) {
  const { domains, failure } = state
  const hues = huesOf(domains.map((each) => each.domain))
  return html`
    <h1>Manage</h1>
    ${failure && html`<${Failure} error=${failure} onToken=${onToken} />`}
    <div class="manage ${domain === '' ? '' : 'chosen'}">
      <${Chooser} domains=${domains} chosen=${domain} hues=${hues} />
      ${
        domain === ''
          ? html`<p class="card muted hint">Choose a domain to see its versions.</p>`
          : html`<${DomainPanel} key=${domain} api=${api} service=${service} domain=${domain} known=${domains.find((each) => each.domain === domain)} tokens=${state.tokens} onToken=${onToken} />`
      }
      <${Upload} api=${api} service=${service} domains=${domains} onToken=${onToken} />
    </div>
  `
}
