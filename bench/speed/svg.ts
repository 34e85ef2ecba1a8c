/** Draws line charts as SVG, with logarithmic axes, a grid and a legend. */

export interface Series {
  name: string
  colour: string
  /** Draws a dashed line without dots, for values that were not measured. */
  dashed?: boolean
  points: readonly (readonly [x: number, y: number])[]
}

export interface Chart {
  title: string
  x: string
  y: string
  /** Whether the y axis is logarithmic. The x axis always is. */
  logarithmic: boolean
  series: readonly Series[]
}

const WIDTH = 720
const HEIGHT = 400
const LEFT = 74
const RIGHT = 20
const TOP = 84
const BOTTOM = 54

/** The chart, on a white background so that it can be read on dark pages too. */
export function lineChart({ title, x, y, logarithmic, series }: Chart): string {
  const all = series.flatMap(({ points }) => points)
  const xs = scale(
    all.map(([value]) => value),
    true,
    LEFT,
    WIDTH - RIGHT,
  )
  const ys = scale(
    all.map(([, value]) => value),
    logarithmic,
    HEIGHT - BOTTOM,
    TOP,
  )
  const parts = [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" font-family="sans-serif" font-size="13">`,
    `<rect width="${WIDTH}" height="${HEIGHT}" fill="#fff"/>`,
    text(LEFT, 26, title, 'font-size="17" font-weight="bold"'),
    ...xs.ticks.flatMap((tick) => [
      line(xs.at(tick), TOP, xs.at(tick), HEIGHT - BOTTOM),
      text(xs.at(tick), HEIGHT - BOTTOM + 18, label(tick), 'text-anchor="middle"'),
    ]),
    ...ys.ticks.flatMap((tick) => [
      line(LEFT, ys.at(tick), WIDTH - RIGHT, ys.at(tick)),
      text(LEFT - 8, ys.at(tick) + 4, label(tick), 'text-anchor="end"'),
    ]),
    text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 12, x, 'text-anchor="middle"'),
    text(
      0,
      0,
      y,
      `text-anchor="middle" transform="translate(18 ${(TOP + HEIGHT - BOTTOM) / 2}) rotate(-90)"`,
    ),
  ]
  let legend = LEFT
  for (const { name, colour, dashed, points } of series) {
    const dash = dashed ? ' stroke-dasharray="6 5"' : ''
    const stroke = `stroke="${colour}" stroke-width="2.5" fill="none"${dash}`
    const path = points.map(([px, py]) => `${xs.at(px).toFixed(1)},${ys.at(py).toFixed(1)}`)
    parts.push(`<polyline points="${path.join(' ')}" ${stroke}/>`)
    if (!dashed) {
      for (const point of path)
        parts.push(
          `<circle cx="${point.split(',')[0]}" cy="${point.split(',')[1]}" r="3.5" fill="${colour}"/>`,
        )
    }
    parts.push(`<path d="M${legend} 52h28" ${stroke}/>`, text(legend + 34, 56, name, ''))
    legend += 50 + name.length * 7
  }
  return `${parts.join('\n')}\n</svg>\n`
}

interface Scale {
  at(value: number): number
  ticks: number[]
}

/** An axis: maps values to pixels and ends at round numbers. */
function scale(values: readonly number[], logarithmic: boolean, from: number, to: number): Scale {
  const most = Math.max(...values)
  if (!logarithmic) {
    const step = 10 ** Math.floor(Math.log10(most)) / (most / 10 ** Math.floor(Math.log10(most)) < 4 ? 2 : 1)
    const end = Math.ceil((most * 1.05) / step) * step
    const ticks = Array.from({ length: Math.round(end / step) + 1 }, (_, index) => index * step)
    return { at: (value) => from + ((to - from) * value) / end, ticks }
  }
  const low = Math.floor(Math.log10(Math.min(...values)) + 1e-9)
  const high = Math.max(low + 1, Math.ceil(Math.log10(most) - 1e-9))
  const ticks = Array.from({ length: high - low + 1 }, (_, index) => 10 ** (low + index))
  return { at: (value) => from + ((to - from) * (Math.log10(value) - low)) / (high - low), ticks }
}

function label(value: number): string {
  return Number(value.toPrecision(3)).toLocaleString('en-US', { maximumFractionDigits: 3 })
}

function line(x1: number, y1: number, x2: number, y2: number): string {
  const [a, b, c, d] = [x1, y1, x2, y2].map((value) => value.toFixed(1))
  return `<line x1="${a}" y1="${b}" x2="${c}" y2="${d}" stroke="#ddd"/>`
}

function text(x: number, y: number, words: string, attributes: string): string {
  const safe = words.replaceAll('&', '&amp;').replaceAll('<', '&lt;')
  return `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}" fill="#222" ${attributes}>${safe}</text>`
}
