/** A place to drop or paste files, with a button that chooses them. */
import { useEffect, useRef, useState } from '../../vendor/preact-hooks.js'
import { html } from '../html.js'

/**
 * @param {{ accept: string, multiple: boolean, what: string, onFiles: (files: File[]) => void, children?: any }} props
 * `what`: what the files are, such as `images`
 */
export function DropBox({ accept, multiple, what, onFiles, children }) {
  const input = useRef(/** @type {HTMLInputElement | null} */ (null))
  const [over, setOver] = useState(false)
  const latest = useRef(onFiles)
  latest.current = onFiles
  const pastes = accept.startsWith('image/')

  // A file that is dropped beside the box would replace the page.
  useEffect(() => {
    const beside = (/** @type {DragEvent} */ event) => {
      if (event.defaultPrevented) return
      event.preventDefault()
      if (event.dataTransfer) event.dataTransfer.dropEffect = 'none'
    }
    document.addEventListener('dragover', beside)
    document.addEventListener('drop', beside)
    return () => {
      document.removeEventListener('dragover', beside)
      document.removeEventListener('drop', beside)
    }
  }, [])

  useEffect(() => {
    const pasted = (/** @type {ClipboardEvent} */ event) => {
      const files = [...(event.clipboardData?.files ?? [])]
      if (!pastes || files.length === 0) return
      event.preventDefault()
      latest.current(multiple ? files : files.slice(0, 1))
    }
    document.addEventListener('paste', pasted)
    return () => document.removeEventListener('paste', pasted)
  }, [multiple, pastes])

  const drag = (/** @type {DragEvent} */ event) => {
    event.preventDefault()
    setOver(event.type === 'dragover')
  }
  const drop = (/** @type {DragEvent} */ event) => {
    event.preventDefault()
    setOver(false)
    const files = [...(event.dataTransfer?.files ?? [])]
    onFiles(multiple ? files : files.slice(0, 1))
  }
  const picked = (/** @type {{ currentTarget: HTMLInputElement }} */ { currentTarget }) => {
    const files = [...(currentTarget.files ?? [])]
    // So that the same file can be chosen again.
    currentTarget.value = ''
    onFiles(files)
  }
  return html`
    <div class="drop ${over ? 'over' : ''}" onDragOver=${drag} onDragLeave=${drag} onDrop=${drop}>
      <p>Drop ${what} here${pastes ? ', or paste them' : ''}</p>
      <div class="actions">
        <button type="button" class="primary" onClick=${() => input.current?.click()}>Choose ${what}</button>
        ${children}
      </div>
      <input ref=${input} type="file" hidden accept=${accept} multiple=${multiple} onChange=${picked} />
    </div>
  `
}
