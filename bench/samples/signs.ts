/** Sample images of traffic signs, flat on a ground like a street's. */
import type { Drawings } from './drawn.js'

const ground =
  '<defs><linearGradient id="g" x2="0" y2="1"><stop offset="0" stop-color="#8fa3b5"/><stop offset=".6" stop-color="#6d7a70"/>' +
  '<stop offset="1" stop-color="#4e5a44"/></linearGradient></defs><rect width="100" height="100" fill="url(#g)"/>'
const RED = '#b3242b'
const BLUE = '#1f4f9c'
const WHITE = '#e8e6e2'
/** A sign in its place: a little smaller than the picture and as soft as a camera that moves makes it. */
const scene = (sign: string) =>
  `${ground}<filter id="f"><feGaussianBlur stdDeviation=".7"/></filter><g filter="url(#f)" transform="translate(7 7) scale(.86)">${sign}</g>`
const strokes = (width: number, colour: string, ...paths: string[]) =>
  `<path d="${paths.join(' ')}" fill="none" stroke="${colour}" stroke-width="${width}"/>`
const disc = (r: number, colour: string) => `<circle cx="50" cy="50" r="${r}" fill="${colour}"/>`

export const signs: Drawings = {
  domain: 'gtsrb',
  side: 100,
  pixels: 48,
  format: 'png',
  images: {
    'speed limit 30': scene(
      disc(42, RED) +
        disc(33, WHITE) +
        strokes(
          5,
          '#222',
          'M30.5 37 h5.8 q7.8 0 7.8 6.5 q0 6.5 -8.8 6.5 q9.8 0 9.8 6.5 q0 6.5 -7.8 6.5 h-6.8',
          'M63.5 37 q7.5 0 7.5 7.5 v11 q0 7.5 -7.5 7.5 q-7.5 0 -7.5 -7.5 v-11 q0 -7.5 7.5 -7.5',
        ),
    ),
    stop: scene(
      `<path d="M32 7 H68 L93 32 V68 L68 93 H32 L7 68 V32 Z" fill="${RED}" stroke="${WHITE}" stroke-width="3"/>` +
        strokes(
          4.6,
          WHITE,
          'M30 38 h-9 v12 h9 v12 h-10',
          'M36 38 h12 M42 38 v24',
          'M55 38 h8 v24 h-8 Z',
          'M71 62 v-24 h8 v12 h-8',
        ),
    ),
    yield: scene(
      `<path d="M8 18 H92 L50 90 Z" fill="${WHITE}" stroke="${RED}" stroke-width="9" stroke-linejoin="round"/>`,
    ),
    'priority road': scene(
      `<path d="M50 6 L94 50 L50 94 L6 50 Z" fill="${WHITE}"/><path d="M50 21 L79 50 L50 79 L21 50 Z" fill="#e8a317"/>`,
    ),
    'no entry': scene(`${disc(42, RED)}<path d="M18 42 H82 V58 H18 Z" fill="${WHITE}"/>`),
    'ahead only': scene(
      disc(43, WHITE) + disc(41, BLUE) + `<path d="M44 82 V42 H30 L50 16 L70 42 H56 V82 Z" fill="${WHITE}"/>`,
    ),
  },
}
