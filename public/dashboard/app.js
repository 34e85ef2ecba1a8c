/** The dashboard: what is served. */
import { h, render } from '../vendor/preact.js'
import htm from '../vendor/htm.js'

const html = htm.bind(h)

/** @param {string} path under the address of the service */
async function get(path) {
  const answer = await fetch(new URL(path, document.baseURI))
  if (!answer.ok) throw new Error(`${path}: HTTP ${answer.status}`)
  return answer.json()
}

const { families } = await get('v1/families')
const { domains } = await get('v1/domains')
render(
  html`<main><h1>Facet</h1><p>${domains.length} domains of ${families.length} families</p></main>`,
  /** @type {Element} */ (document.getElementById('app')),
)
