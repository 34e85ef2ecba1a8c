/** What the domains say of an image: labels with scores, and how long it took. */
import { useEffect, useRef } from '../../vendor/preact-hooks.js'
import { bytesText, counted, millisecondsText, scoreText, shortVersion } from '../format.js'
import { html, Swatch } from '../html.js'

/** Longest side of a thumbnail, in CSS pixels. */
const THUMBNAIL_PX = 220

/** @param {{ answer: import('./try.js').Answer, hues: Map<string, number>,
 *   cards: ReadonlyMap<string, import('../types.js').Card> }} props */
export function Results({ answer, hues, cards }) {
  const { image, outcomes, timings, requests } = answer
  return html`
    <article class="card result" aria-label="Answers for ${image.name}">
      <div class="image">
        <${Thumbnail} image=${image} />
        <h2 class="file">${image.name} <span class="muted">${bytesText(image.size)}</span></h2>
        <dl class="timings">
          <div><dt>Decode</dt><dd>${millisecondsText(timings.decode)}</dd></div>
          <div><dt>Queue</dt><dd>${millisecondsText(timings.queue)}</dd></div>
          <div><dt>Inference</dt><dd>${millisecondsText(timings.inference)}</dd></div>
          <div><dt>There and back</dt><dd>${millisecondsText(timings.total)}</dd></div>
        </dl>
        <p class="muted">${counted(outcomes.length, 'domain')} in ${counted(requests, 'request')}</p>
      </div>
      <ul class="answers">
        ${outcomes.map(
          (
            outcome,
          ) => html`<${Outcome} key=${outcome.domain} outcome=${outcome} hue=${hues.get(outcome.domain)}
          name=${cards.get(outcome.result?.version ?? '')?.name} />`,
        )}
      </ul>
    </article>
  `
}

/** @param {{ outcome: import('../predict.js').Outcome, hue: number | undefined, name: string | null | undefined }} props */
function Outcome({ outcome: { domain, result, error }, hue, name }) {
  return html`
    <li class="answer">
      <h3><${Swatch} hue=${hue} />${domain}</h3>
      <p class="under">${name}${name && result && ' · '}${result && html`<span class="sr-only">version </span><code>${shortVersion(result.version)}</code>`}</p>
      ${error && html`<p class="bad">${error.message}</p>`}
      ${
        result &&
        html`<ol class="scores">
          ${result.predictions.map(
            ({ label, index, score }) => html`<li key=${index}>
              <span class="label">${label}</span><span class="score">${scoreText(score)}</span>
              <span class="meter" aria-hidden="true"><span style=${{ width: `${100 * score}%`, ...(hue !== undefined && { '--hue': String(hue) }) }}></span></span>
            </li>`,
          )}
        </ol>`
      }
    </li>
  `
}

/** The image, drawn on a canvas: its bytes need no address that the page's policy would have to allow.
 * @param {{ image: File }} props */
function Thumbnail({ image }) {
  const canvas = useRef(/** @type {HTMLCanvasElement | null} */ (null))
  useEffect(() => {
    let left = false
    const draw = async () => {
      const bitmap = await createImageBitmap(image)
      const place = canvas.current
      if (left || place === null) return
      const scale = (2 * THUMBNAIL_PX) / Math.max(bitmap.width, bitmap.height)
      place.width = Math.max(1, Math.round(bitmap.width * scale))
      place.height = Math.max(1, Math.round(bitmap.height * scale))
      place.getContext('2d')?.drawImage(bitmap, 0, 0, place.width, place.height)
      bitmap.close()
    }
    // The service reads formats that a browser does not draw, TIFF for one: there is no thumbnail then.
    draw().catch(() => {})
    return () => {
      left = true
    }
  }, [image])
  return html`<canvas ref=${canvas} width="1" height="1" role="img" aria-label="The image ${image.name}"></canvas>`
}
