/** The field that narrows a list of domains. */
import { html } from '../html.js'

/** @param {{ wanted: string, onWanted: (text: string) => void }} props */
export function FindDomain({ wanted, onWanted }) {
  return html`<input type="search" aria-label="Find a domain" placeholder="Find a domain" value=${wanted}
    onInput=${(/** @type {{ currentTarget: HTMLInputElement }} */ { currentTarget }) => onWanted(currentTarget.value)} />`
}
