/** What happens now: throughput, latency, queue, batches, and whose images they are. */
import { countText, millisecondsText, threeDigits } from '../format.js'
import { Failure, html, Swatch } from '../html.js'
import { batchesOf, mixOf, momentsOf } from '../live.js'
import { Chart } from './chart.js'

/** Domains of the mix that are named. */
const NAMED = 8

/** @param {{ state: import('../service.js').State, hues: Map<string, number>, onToken: () => void }} props */
export function Live({ state, hues, onToken }) {
  const { readings, metricsFailure } = state
  const moments = momentsOf(readings)
  const last = moments.at(-1)
  const batches = batchesOf(readings)
  const times = moments.map(({ time }) => time - (last?.time ?? 0))
  const inMs = (/** @type {number | null} */ seconds) => (seconds === null ? null : seconds * 1000)
  const asText = (/** @type {number | null | undefined} */ seconds) =>
    seconds === null || seconds === undefined ? '–' : millisecondsText(seconds * 1000)
  return html`
    <section aria-labelledby="live-title">
      <h2 id="live-title">Now</h2>
      ${metricsFailure && html`<${Failure} error=${metricsFailure} onToken=${onToken} />`}
      <div class="tiles">
        <div class="card tile wide">
          <h3>Images a second</h3>
          <p class="figure">${last ? threeDigits(last.rate) : '–'}</p>
          <${Chart} label="Images a second, the last three minutes" times=${times}
            lines=${[{ name: 'images a second', values: moments.map(({ rate }) => rate), fill: true }]} format=${threeDigits} />
        </div>
        <div class="card tile wide">
          <h3>Latency</h3>
          <p class="figure">${asText(last?.p50)} <small>median · ${asText(last?.p95)} 95th percentile</small></p>
          <${Chart} label="Latency, median and 95th percentile, the last three minutes" times=${times}
            lines=${[
              { name: '95th percentile', values: moments.map(({ p95 }) => inMs(p95)), dashed: true },
              { name: 'median', values: moments.map(({ p50 }) => inMs(p50)) },
            ]} format=${millisecondsText} />
        </div>
        <div class="card tile">
          <h3>Queue</h3>
          <p class="figure">${last ? countText(last.queue) : '–'} <small>${last?.queue === 1 ? 'image' : 'images'}</small></p>
          <p class="muted">waiting for a batch</p>
        </div>
        <div class="card tile">
          <h3>A batch</h3>
          <p class="figure">${batches ? threeDigits(batches.images) : '–'} <small>images</small> ${batches ? threeDigits(batches.domains) : '–'} <small>domains</small></p>
          <p class="muted">on average of the last 10 s</p>
        </div>
        <${Mix} readings=${readings} hues=${hues} />
      </div>
    </section>
  `
}

/** @param {{ readings: import('../live.js').Reading[], hues: Map<string, number> }} props */
function Mix({ readings, hues }) {
  const mix = mixOf(readings, NAMED)
  return html`
    <div class="card tile mix">
      <h3>Whose images</h3>
      ${
        mix.length === 0
          ? html`<p class="muted">None in the last three minutes. <a href="#/try">Try one</a>.</p>`
          : html`
            <div class="mix-bar" aria-hidden="true">
              ${mix.map(({ domain, part }) => {
                const hue = domain === null ? undefined : hues.get(domain)
                return html`<span class="segment ${hue === undefined ? 'rest' : 'resident'}"
                  style=${{ flexGrow: part, ...(hue !== undefined && { '--hue': String(hue) }) }}></span>`
              })}
            </div>
            <ul class="mix-list">
              ${mix.map(
                ({
                  domain,
                  part,
                }) => html`<li><${Swatch} hue=${domain === null ? undefined : hues.get(domain)} />
                  <span class="name">${domain ?? 'others'}</span> ${Math.round(100 * part)}%</li>`,
              )}
            </ul>`
      }
    </div>
  `
}
