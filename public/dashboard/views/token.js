/** Asks for a token. It goes to the page's memory and nowhere else. */
import { useEffect, useRef } from '../../vendor/preact-hooks.js'
import { html } from '../html.js'

/** @param {{ has: boolean, onGiven: (token: string) => void, onClose: () => void }} props */
export function TokenDialog({ has, onGiven, onClose }) {
  const dialog = useRef(/** @type {HTMLDialogElement | null} */ (null))
  const field = useRef(/** @type {HTMLInputElement | null} */ (null))
  useEffect(() => dialog.current?.showModal(), [])
  const submit = (/** @type {Event} */ event) => {
    event.preventDefault()
    onGiven(field.current?.value ?? '')
  }
  return html`
    <dialog ref=${dialog} onClose=${onClose} aria-labelledby="token-title">
      <form onSubmit=${submit}>
        <h2 id="token-title">Token</h2>
        <p>
          Changes need a token with the scope <code>admin</code> where the service has one; so may predictions and
          metrics. It is kept in this page’s memory alone, and is gone when you close or reload the page.
        </p>
        <label for="token">Token</label>
        <input id="token" ref=${field} type="password" autocomplete="off" spellcheck=${false} required />
        <div class="actions">
          <button type="submit" class="primary">Use it</button>
          ${has && html`<button type="button" onClick=${() => onGiven('')}>Forget the one given</button>`}
          <button type="button" onClick=${() => dialog.current?.close()}>Cancel</button>
        </div>
      </form>
    </dialog>
  `
}
