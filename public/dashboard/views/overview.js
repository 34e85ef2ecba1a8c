/** What the service is about at one look: memory drawn to scale, what happens now, and its domains. */
import { bytesText, counted, threeDigits } from '../format.js'
import { Failure, html } from '../html.js'
import { huesOf, pictureOf } from '../scale.js'
import { DomainTable } from './domain-table.js'
import { Live } from './live.js'
import { Picture } from './picture.js'

/**
 * @typedef {object} ViewProps what every view is given
 * @property {import('../api.js').Api} api
 * @property {import('../service.js').Service} service
 * @property {import('../service.js').State} state
 * @property {string} domain the domain that the address names, or empty
 * @property {() => void} onToken asks for a token
 */

/** @param {ViewProps} props */
export function Overview({ service, state, onToken }) {
  const { families, domains, failure } = state
  if (families === null)
    return failure
      ? html`<h1>Overview</h1><${Failure} error=${failure} onToken=${onToken} />`
      : html`<h1>Overview</h1><p class="muted">Reading what is served …</p>`
  const picture = pictureOf(families, domains)
  const hues = huesOf(domains.map(({ domain }) => domain))
  return html`
    <${Headline} families=${families} domains=${domains} picture=${picture} />
    ${failure && html`<${Failure} error=${failure} onToken=${onToken} />`}
    <${Picture} families=${families} picture=${picture} hues=${hues} />
    <${Live} state=${state} hues=${hues} onToken=${onToken} />
    <${DomainTable} service=${service} state=${state} hues=${hues} />
  `
}

/**
 * @param {{ families: import('../types.js').Family[], domains: import('../types.js').Domain[],
 *   picture: ReturnType<typeof pictureOf> }} props
 */
function Headline({ families, domains, picture }) {
  const sum = (/** @type {(family: import('../scale.js').FamilyPicture) => number} */ part) =>
    picture.families.reduce((total, family) => total + part(family), 0)
  const shared = sum((family) => family.shared.all)
  const apart = sum((family) => family.apart.all)
  const cold = sum((family) => family.cold)
  const pays = apart > shared
  return html`
    <div class="headline">
      <div>
        <h1>${counted(domains.length, 'domain')} on ${counted(families.length, 'frozen backbone')}</h1>
        <p class="lead">
          Each domain owns a small adapter pack and a head; the backbone’s weights, the <em>trunk</em>, are shared. Any
          mix of domains runs in one batch.
        </p>
      </div>
      <p class="saving">
        <strong>${pays ? `${threeDigits(apart / shared)}×` : bytesText(shared)}</strong>
        <span>
          ${
            pays
              ? `less memory${cold > 0 ? ' with all domains loaded' : ''}: ${bytesText(shared)} instead of ${bytesText(apart)} of dedicated networks`
              : `here, and ${bytesText(apart)} as dedicated networks: so few domains do not make up for the trunk yet`
          }
        </span>
      </p>
    </div>
  `
}
