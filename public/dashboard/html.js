/** Preact's elements written as templates, and the few of them that every view has. */
import htm from '../vendor/htm.js'
import { h } from '../vendor/preact.js'

/** @typedef {import('../vendor/preact.js').VNode<any>} Element */

/** @type {(strings: TemplateStringsArray, ...values: any[]) => Element} */
export const html = htm.bind(/** @type {any} */ (h))

/**
 * An error where it happened, with everything that is wrong.
 * @param {{ error: unknown, onToken?: (() => void) | undefined }} props `onToken` asks for a token where one would help
 */
export function Failure({ error, onToken }) {
  const { message, problems, status } = /** @type {import('./api.js').ApiError} */ (error)
  return html`
    <div class="notice bad" role="alert">
      <p>${message}</p>
      ${problems?.length > 0 && html`<ul>${problems.map((problem) => html`<li>${problem}</li>`)}</ul>`}
      ${onToken && (status === 401 || status === 403) && html`<button type="button" onClick=${onToken}>Give a token</button>`}
    </div>
  `
}

/** A patch of a domain's colour. @param {{ hue: number | undefined }} props */
export function Swatch({ hue }) {
  const style = hue === undefined ? {} : { '--hue': String(hue) }
  return html`<span class="swatch ${hue === undefined ? 'plain' : ''}" style=${style} aria-hidden="true"></span>`
}
