/** Asks for a token. It goes to the page's memory and nowhere else. */
import { useEffect, useRef, useState } from '../../vendor/preact-hooks.js'
import { tokenProblem } from '../api.js'
import { html } from '../html.js'

/** @param {{ has: boolean, onGiven: (token: string) => void, onClose: () => void }} props */
export function TokenDialog({ has, onGiven, onClose }) {
  const dialog = useRef(/** @type {HTMLDialogElement | null} */ (null))
  const field = useRef(/** @type {HTMLInputElement | null} */ (null))
  const [problem, setProblem] = useState('')
  useEffect(() => dialog.current?.showModal(), [])
  const give = (/** @type {string} */ token) => {
    // While it is still in the page, so that the focus goes back to where it came from.
    dialog.current?.close()
    onGiven(token)
  }
  const submit = (/** @type {Event} */ event) => {
    event.preventDefault()
    const token = field.current?.value ?? ''
    const wrong = tokenProblem(token)
    setProblem(wrong)
    if (wrong === '') give(token)
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
        ${problem && html`<p class="notice bad" role="alert">${problem}</p>`}
        <div class="actions">
          <button type="submit" class="primary">Use it</button>
          ${has && html`<button type="button" onClick=${() => give('')}>Forget the one given</button>`}
          <button type="button" onClick=${() => dialog.current?.close()}>Cancel</button>
        </div>
      </form>
    </dialog>
  `
}
