/** Sample images of single things: flowers, waste, land seen from an aeroplane. */
import type { Drawings } from './drawn.js'
import { noise, rect, shade } from './grounds.js'

/** A flower from above: rings of petals around a disc, on leaves. */
function flower(
  petals: number,
  long: number,
  wide: number,
  colour: string,
  edge: string,
  eye: string,
  r: number,
): string {
  const leaves = rect('#3d5a2a') + noise(21, 0.06, 3, shade(0.05, 0.12, 0.03, 1.6, -0.5))
  const ring = (offset: number, scale: number) =>
    Array.from(
      { length: petals },
      (_, i) =>
        `<ellipse cx="50" cy="${50 - long / 2 - r * 0.6}" rx="${wide}" ry="${(long / 2) * scale}" fill="${colour}" stroke="${edge}" stroke-width=".5" transform="rotate(${(360 / petals) * (i + offset)} 50 50)"/>`,
    ).join('')
  return `${leaves}${ring(0.5, 1)}${ring(0, 0.95)}<circle cx="50" cy="50" r="${r}" fill="${eye}"/>`
}

export const flowers: Drawings = {
  domain: 'flowers90',
  side: 100,
  pixels: 128,
  format: 'jpg',
  images: {
    'oxeye daisy': flower(14, 30, 4.2, '#f4f2ee', '#cfcfd2', '#e0a818', 11),
  },
}

function tank(x: number, y: number, r: number): string {
  return `<circle cx="${x + 3}" cy="${y + 4}" r="${r}" fill="#3c3f38"/><circle cx="${x}" cy="${y}" r="${r}" fill="#e9e9e6"/><circle cx="${x}" cy="${y}" r="${r * 0.15}" fill="#bbb"/>`
}

export const aerial: Drawings = {
  domain: 'ucmerced',
  side: 100,
  pixels: 128,
  format: 'jpg',
  images: {
    'storage tanks':
      rect('#7b8168') +
      noise(23, 0.1, 3, shade(0.3, 0.3, 0.22, 0.8, -0.3)) +
      '<path d="M0 88 H100 V95 H0 Z" fill="#8d8c88"/>' +
      tank(36, 46, 24) +
      tank(82, 26, 12),
    'baseball diamond':
      rect('#4b6b3c') +
      noise(24, 0.1, 2, shade(0.15, 0.25, 0.1, 0.6, -0.25)) +
      '<path d="M50 92 L12 54 A54 54 0 0 1 88 54 Z" fill="#b49268"/><path d="M50 82 L28 60 L50 38 L72 60 Z" fill="#557a45"/><circle cx="50" cy="61" r="4" fill="#b49268"/><circle cx="50" cy="84" r="6" fill="#b49268"/>',
  },
}

export const waste: Drawings = {
  domain: 'trashnet',
  side: 100,
  pixels: 128,
  format: 'jpg',
  images: {
    cardboard:
      rect('#d8d2c8') +
      '<path d="M6 12 L92 4 L98 88 L12 97 Z" fill="#a97c4f"/>' +
      '<path d="M9 52 L95 45" stroke="#8a6139" stroke-width="1.2"/>' +
      noise(25, 0.25, 2, shade(0.35, 0.22, 0.1, 0.4, -0.16)),
  },
}

export const objects: Drawings = {
  domain: 'cifar100',
  side: 100,
  pixels: 32,
  format: 'png',
  images: {
    plain:
      '<defs><linearGradient id="p" x2="0" y2="1"><stop offset="0" stop-color="#6f9fd8"/><stop offset="1" stop-color="#d4e2ee"/></linearGradient></defs>' +
      '<rect width="100" height="58" fill="url(#p)"/><path d="M0 57 H100 V100 H0 Z" fill="#a8924e"/>',
    plate:
      rect('#f4f4f4') +
      '<circle cx="50" cy="50" r="46" fill="#dfe3e8"/><circle cx="50" cy="50" r="44" fill="#fbfbfb"/><circle cx="50" cy="50" r="30" fill="#e3e6ea"/><circle cx="50" cy="50" r="28.5" fill="#f8f8f8"/>',
  },
}
