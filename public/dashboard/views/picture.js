/** The picture of memory, see `scale.js`: bars of HTML boxes, whose widths are bytes. */
import { bytesText, counted, threeDigits } from '../format.js'
import { html } from '../html.js'
import { ticksOf } from '../scale.js'

/**
 * @param {{ families: import('../types.js').Family[], picture: ReturnType<typeof import('../scale.js').pictureOf>,
 *   hues: Map<string, number> }} props
 */
export function Picture({ families, picture, hues }) {
  const { scale } = picture
  return html`
    <section class="card" aria-labelledby="memory-title">
      <h2 id="memory-title">Memory, drawn to scale</h2>
      <ul class="legend" aria-hidden="true">
        <li><span class="swatch trunk"></span>trunk, shared</li>
        <li><span class="swatch many"></span>one domain each, in memory</li>
        <li><span class="swatch cold"></span>on disk, loaded when asked for (as reckoned)</li>
      </ul>
      ${picture.families.map(
        (family, index) =>
          html`<${FamilyBars} picture=${family} family=${families[index]} scale=${scale} hues=${hues} />`,
      )}
      <div class="axis" aria-hidden="true">
        ${ticksOf(scale, 5).map(
          (tick) =>
            html`<span style=${{ left: `${(100 * tick) / scale}%` }}>${bytesText(tick).replace('.0 ', ' ')}</span>`,
        )}
      </div>
      <p class="muted">
        Dedicated networks are drawn at their best: weights alone, adapters merged in, in the precision of the trunk.
      </p>
    </section>
  `
}

/**
 * @param {{ picture: import('../scale.js').FamilyPicture, family: import('../types.js').Family, scale: number,
 *   hues: Map<string, number> }} props
 */
function FamilyBars({ picture, family, scale, hues }) {
  const { name } = picture
  const { lanes, runtime, precision, provider } = family.execution
  return html`
    <figure class="family">
      <figcaption>
        <h3>${name}</h3>
        <p class="muted">
          ${counted(lanes, 'lane')}, ${runtime} runtime, ${precision} on ${provider} · design ${family.design}
        </p>
      </figcaption>
      <${BarRow} title="Facet" bar=${picture.shared} scale=${scale} hues=${hues} />
      <${BarRow} title="Dedicated networks" bar=${picture.apart} scale=${scale} hues=${hues} />
      <p class="told">${told(picture)}${family.memory.note && html`<span class="muted"> ${breakEven(family.memory.note)}</span>`}</p>
    </figure>
  `
}

/** The two bars in words. @param {import('../scale.js').FamilyPicture} picture */
function told({ shared, apart, resident, cold, others }) {
  const times = (/** @type {'now' | 'all'} */ when) =>
    `${threeDigits(apart[when] / shared[when])} times as much`
  const what = `${counted(resident, 'domain')}${others > 0 ? ` and ${counted(others, 'other version')}` : ''}`
  const now = `${what} in memory: ${bytesText(shared.now)}; as dedicated networks ${bytesText(apart.now)}, ${times('now')}.`
  if (cold === 0) return now
  return `${now} With ${cold} more from the disk: ${bytesText(shared.all)} against ${bytesText(apart.all)}, ${times('all')}.`
}

/** The sentence of the service's note that says from when on sharing pays. @param {string} note */
function breakEven(note) {
  return /It pays from [^.]+\./.exec(note)?.[0] ?? ''
}

/** @param {{ title: string, bar: import('../scale.js').Bar, scale: number, hues: Map<string, number> }} props */
function BarRow({ title, bar, scale, hues }) {
  const { segments, now, all } = bar
  let at = 0
  return html`
    <div class="bar-row">
      <span class="bar-title">${title}</span>
      <div class="bar-track" aria-hidden="true">
        ${segments.map(({ label, bytes, kind, domain }) => {
          const left = at
          at += bytes
          const hue = domain === null ? undefined : hues.get(domain)
          const style = {
            left: `${(100 * left) / scale}%`,
            width: `${(100 * bytes) / scale}%`,
            ...(hue !== undefined && { '--hue': String(hue) }),
          }
          return html`<span class="segment ${kind}" style=${style} title="${label}: ${bytesText(bytes)}"></span>`
        })}
      </div>
      <span class="bar-bytes">
        <strong>${bytesText(now)}</strong>${all > now && html`<span class="muted"> → ${bytesText(all)}</span>`}
      </span>
    </div>
  `
}
