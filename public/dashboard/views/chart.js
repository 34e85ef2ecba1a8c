/** A line chart of the last three minutes, drawn by uPlot in the page's colours. */
import { useEffect, useRef, useState } from '../../vendor/preact-hooks.js'
import UPlot from '../../vendor/uplot.js'
import { html } from '../html.js'

/**
 * @typedef {{ name: string, values: (number | null)[], fill?: boolean, dashed?: boolean }} Line
 */

const HEIGHT_PX = 132
const SPAN_S = 180

/**
 * @param {{ label: string, times: number[], lines: Line[], format: (value: number) => string }} props `times`: seconds
 * before now, ascending to 0
 */
export function Chart({ label, times, lines, format }) {
  const box = useRef(/** @type {HTMLDivElement | null} */ (null))
  const plot = useRef(/** @type {UPlot | null} */ (null))
  const dark = useDarkScheme()

  useEffect(() => {
    const place = /** @type {HTMLDivElement} */ (box.current)
    const colour = (/** @type {string} */ name) => getComputedStyle(place).getPropertyValue(name).trim()
    const axis = { stroke: colour('--muted'), font: '12px system-ui, sans-serif', ticks: { show: false } }
    const made = new UPlot(
      {
        width: Math.max(120, place.clientWidth),
        height: HEIGHT_PX,
        legend: { show: false },
        cursor: { show: false },
        padding: [8, 20, 0, 0],
        scales: {
          x: { time: false, range: [-SPAN_S, 0] },
          y: { range: (_, _least, most) => [0, most > 0 ? most * 1.15 : 1] },
        },
        axes: [
          {
            ...axis,
            size: 24,
            grid: { show: false },
            splits: [-SPAN_S, -SPAN_S / 2, 0],
            values: (_, at) => at.map(ago),
          },
          {
            ...axis,
            size: 58,
            grid: { stroke: colour('--line'), width: 1 },
            space: 34,
            values: (_, at) => at.map(format),
          },
        ],
        series: [
          {},
          ...lines.map(({ fill, dashed }) => ({
            stroke: colour('--accent'),
            width: dashed ? 1.5 : 2,
            points: { show: false },
            ...(dashed && { dash: [4, 4] }),
            ...(fill && { fill: colour('--accent-soft') }),
          })),
        ],
      },
      dataOf(times, lines),
      place,
    )
    plot.current = made
    const resized = new ResizeObserver(() =>
      made.setSize({ width: Math.max(120, place.clientWidth), height: HEIGHT_PX }),
    )
    resized.observe(place)
    return () => {
      resized.disconnect()
      made.destroy()
    }
  }, [dark])

  useEffect(() => plot.current?.setData(dataOf(times, lines)), [times, lines])
  return html`<div class="chart" ref=${box} role="img" aria-label=${label}></div>`
}

/** @param {number[]} times @param {Line[]} lines @returns {UPlot.AlignedData} */
function dataOf(times, lines) {
  return [times, ...lines.map(({ values }) => values)]
}

/** @param {number} seconds */
function ago(seconds) {
  return seconds === 0 ? 'now' : `−${-seconds / 60} min`
}

/** Whether the page is dark; a canvas has to be drawn again when that changes. */
function useDarkScheme() {
  const query = matchMedia('(prefers-color-scheme: dark)')
  const [dark, setDark] = useState(query.matches)
  useEffect(() => {
    const changed = () => setDark(query.matches)
    query.addEventListener('change', changed)
    return () => query.removeEventListener('change', changed)
  }, [])
  return dark
}
