/** Sample images of surfaces: textures, land from above, blood cells under a microscope. */
import { random } from '../random.js'
import type { Drawings } from './drawn.js'

export const rect = (colour: string, side = 100) =>
  `<rect width="${side}" height="${side}" fill="${colour}"/>`

/** Fractal noise over the whole picture, `strength` of it on top of what is below.
 * @param matrix of `feColorMatrix`, the noise's channels to colour and opacity */
export const noise = (seed: number, frequency: number, octaves: number, matrix: string) =>
  `<filter id="n${seed}" x="0" y="0" width="100%" height="100%"><feTurbulence type="fractalNoise" baseFrequency="${frequency}" numOctaves="${octaves}" seed="${seed}"/>` +
  `<feColorMatrix values="${matrix}"/></filter><rect width="100%" height="100%" filter="url(#n${seed})"/>`
/** Noise that darkens (`r`, `g`, `b` the dark colour, 0-1) where it is strong. */
export const shade = (r: number, g: number, b: number, gain: number, offset: number) =>
  `0 0 0 0 ${r} 0 0 0 0 ${g} 0 0 0 0 ${b} ${gain} 0 0 0 ${offset}`

function bands(): string {
  const colours = ['#7a1f2b', '#e9dfc8', '#2d3f63', '#e9dfc8']
  const stripes = Array.from(
    { length: 12 },
    (_, i) => `<rect y="${i * 8.5}" width="100" height="8.5" fill="${colours[i % 4]}"/>`,
  )
  return stripes.join('') + noise(3, 0.6, 2, shade(0, 0, 0, 0.5, -0.15))
}

function chequers(): string {
  const squares: string[] = []
  for (let y = -6; y < 14; y++)
    for (let x = -6; x < 14; x++)
      if ((x + y) % 2 === 0) squares.push(`<rect x="${x * 11}" y="${y * 11}" width="11" height="11"/>`)
  return `${rect('#eee')}<g fill="#151515" transform="rotate(12 50 50)">${squares.join('')}</g>`
}

function cobweb(): string {
  const [x, y, spokes] = [46, 54, 14]
  const angle = (i: number) => (i / spokes) * 2 * Math.PI + 0.1
  const at = (i: number, r: number) =>
    `${(x + r * Math.cos(angle(i))).toFixed(1)} ${(y + r * Math.sin(angle(i))).toFixed(1)}`
  const radii = Array.from({ length: spokes }, (_, i) => `M${x} ${y} L${at(i, 110)}`)
  const rings = Array.from({ length: 11 }, (_, ring) =>
    Array.from({ length: spokes }, (_, i) => {
      const r = 5 + ring * 6.5
      return `M${at(i, r)} Q${at(i + 0.5, r * 0.9)} ${at(i + 1, r)}`
    }).join(' '),
  )
  return (
    rect('#2b3326') +
    noise(5, 0.03, 2, shade(0.03, 0.05, 0.02, 1.6, -0.5)) +
    `<path d="${[...radii, ...rings].join(' ')}" fill="none" stroke="#cfd4cc" stroke-width=".7"/>`
  )
}

export const textures: Drawings = {
  domain: 'dtd10',
  side: 100,
  pixels: 160,
  format: 'jpg',
  images: { banded: bands(), chequered: chequers(), cobwebbed: cobweb() },
}

function fields(): string {
  const colours = ['#8a7262', '#a08472', '#5a6a4a', '#6f5d50', '#b5957c', '#4c5d45']
  const next = random(4)
  let body = rect('#7c6a5c')
  for (const [i, d] of [
    'M0 0 H40 L34 38 H0 Z',
    'M40 0 H100 V26 L34 38 Z',
    'M0 38 H34 L24 100 H0 Z',
    'M34 38 L100 26 V62 L28 74 Z',
    'M28 74 L100 62 V100 H24 Z',
  ].entries())
    body += `<path d="${d}" fill="${colours[i]}" stroke="#5d5248" stroke-width="${1 + next()}"/>`
  return body + noise(6, 0.09, 3, shade(0.2, 0.15, 0.12, 0.5, -0.18))
}

export const land: Drawings = {
  domain: 'eurosat',
  side: 100,
  pixels: 64,
  format: 'jpg',
  images: {
    SeaLake:
      '<defs><linearGradient id="s" x2="1" y2="1"><stop offset="0" stop-color="#1c2f55"/><stop offset="1" stop-color="#1a2b50"/></linearGradient></defs><rect width="100" height="100" fill="url(#s)"/>',
    Forest: rect('#24403f') + noise(7, 0.11, 4, shade(0.05, 0.12, 0.14, 1.1, -0.4)),
    AnnualCrop: fields(),
    River:
      rect('#3f5a42') +
      '<path d="M0 0 H100 V30 L0 2 Z" fill="#57704a"/><path d="M0 62 L70 100 H0 Z" fill="#6b7350"/>' +
      noise(8, 0.14, 4, shade(0.1, 0.16, 0.13, 1.4, -0.5)) +
      '<path d="M-10 12 C30 20 40 62 110 74" fill="none" stroke="#33504a" stroke-width="24"/>' +
      '<path d="M-10 12 C30 20 40 62 110 74" fill="none" stroke="#31566b" stroke-width="21"/>',
  },
}

function smear(): string {
  const next = random(12)
  const red: string[] = []
  for (let i = 0; i < 26; i++) {
    const [x, y] = [next() * 110 - 5, next() * 110 - 5]
    if (Math.hypot(x - 46, y - 50) < 24) continue
    red.push(
      `<circle cx="${x.toFixed(1)}" cy="${y.toFixed(1)}" r="9" fill="#d3a59c"/><circle cx="${x.toFixed(1)}" cy="${y.toFixed(1)}" r="3.6" fill="#e3c9c2"/>`,
    )
  }
  return `${rect('#dcd7d2')}${red.join('')}<circle cx="46" cy="50" r="14" fill="#9a8bc8"/><circle cx="46" cy="50" r="12.6" fill="#5f3f9e"/>`
}

export const cells: Drawings = {
  domain: 'blood_cells',
  side: 100,
  pixels: 120,
  format: 'jpg',
  images: { lymphocyte: smear() },
}
