/** A picture from the camera. */
import { useEffect, useRef, useState } from '../../vendor/preact-hooks.js'
import { html } from '../html.js'

/** @param {{ onPicture: (file: File) => void, onClose: () => void }} props */
export function Camera({ onPicture, onClose }) {
  const dialog = useRef(/** @type {HTMLDialogElement | null} */ (null))
  const video = useRef(/** @type {HTMLVideoElement | null} */ (null))
  const [problem, setProblem] = useState('')
  const [ready, setReady] = useState(false)

  useEffect(() => {
    dialog.current?.showModal()
    /** @type {MediaStream | undefined} */
    let stream
    let closed = false
    const end = () => {
      for (const track of stream?.getTracks() ?? []) track.stop()
    }
    const begin = async () => {
      // Browsers give pages the camera on https and on this machine alone.
      if (!navigator.mediaDevices)
        throw new Error(
          'browsers give it to pages on https or localhost only. “Choose images” offers a phone’s own camera.',
        )
      stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: 'environment' } })
      if (closed) return end()
      const shown = /** @type {HTMLVideoElement} */ (video.current)
      shown.srcObject = stream
      await shown.play()
      setReady(true)
    }
    begin().catch((error) => setProblem(`There is no picture from the camera: ${error.message}`))
    return () => {
      closed = true
      end()
    }
  }, [])

  const picture = async () => {
    const shown = /** @type {HTMLVideoElement} */ (video.current)
    const canvas = new OffscreenCanvas(shown.videoWidth, shown.videoHeight)
    canvas.getContext('2d')?.drawImage(shown, 0, 0)
    const blob = await canvas.convertToBlob({ type: 'image/jpeg', quality: 0.92 })
    return new File([blob], 'camera.jpg', { type: 'image/jpeg' })
  }
  const take = async () => {
    try {
      onPicture(await picture())
      dialog.current?.close()
    } catch (error) {
      setReady(false)
      setProblem(`The picture cannot be taken: ${/** @type {Error} */ (error).message}`)
    }
  }
  return html`
    <dialog class="camera" ref=${dialog} onClose=${onClose} aria-labelledby="camera-title">
      <h2 id="camera-title">Camera</h2>
      ${problem ? html`<p class="notice bad" role="alert">${problem}</p>` : html`<video ref=${video} muted playsinline aria-label="What the camera sees"></video>`}
      <div class="actions">
        <button type="button" class="primary" disabled=${!ready} onClick=${take}>Take the picture</button>
        <button type="button" onClick=${() => dialog.current?.close()}>Cancel</button>
      </div>
    </dialog>
  `
}
