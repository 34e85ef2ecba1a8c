/** Sample images made of lines and silhouettes: sketches, clothing, characters, hand signs. */
/** One domain's drawings: the SVG of each label, on a square of `side` units, rendered `pixels` wide. */
export interface Drawings {
  domain: string
  side: number
  pixels: number
  format: 'png' | 'jpg'
  images: Record<string, string>
}

const stroke = (width: number, body: string, colour = '#000') =>
  `<g fill="none" stroke="${colour}" stroke-width="${width}" stroke-linecap="round" stroke-linejoin="round">${body}</g>`
const lines = (...paths: string[]) => paths.map((path) => `<path d="${path}"/>`).join('')
const circle = (x: number, y: number, r: number, rest = '') =>
  `<circle cx="${x}" cy="${y}" r="${r}" ${rest}/>`
const white = '<rect width="100" height="100" fill="#fff"/>'

export const sketches: Drawings = {
  domain: 'sketch',
  side: 100,
  pixels: 227,
  format: 'png',
  images: {
    house:
      white +
      stroke(
        1,
        lines(
          'M16 46 L17 88 L83 87 L83 45',
          'M9 48 L49 14 L92 46 Z',
          'M42 88 L42 63 L56 63 L56 87',
          'M53 76 l1 0',
          'M23 56 h13 v13 h-13 Z M29.5 56 v13 M23 62.5 h13',
          'M63 56 h13 v13 h-13 Z M69.5 56 v13 M63 62.5 h13',
          'M68 27 L68 15 L76 15 L76 34',
        ) + circle(49, 35, 5),
      ),
    guitar:
      white +
      stroke(
        1.4,
        lines(
          'M46 52 C34 50 33 62 38 66 C26 72 28 94 50 94 C72 94 74 72 62 66 C67 62 66 50 54 52',
          'M47.5 56 L47.5 16 L46 6 L54 6 L52.5 16 L52.5 56',
          'M43 8 h3 M43 12 h3 M54 8 h3 M54 12 h3',
          'M43 82 h14',
          'M49 82 V10 M51 82 V10',
        ) + circle(50, 66, 6),
      ),
  },
}

/** A garment in greys on black, in the 28 pixels of the data set. */
const garment = (body: string) => `<rect width="28" height="28" fill="#000"/>${body}`

export const clothing: Drawings = {
  domain: 'fashion_mnist',
  side: 28,
  pixels: 28,
  format: 'png',
  images: {
    Trouser: garment(
      '<path d="M9 1 H19 L20.5 27 H15.5 L14 9 L12.5 27 H7.5 Z" fill="#c8c8c8"/><path d="M9 1 H19 V2.6 H9 Z" fill="#8c8c8c"/>',
    ),
    Bag: garment(
      '<path d="M9 12 C9 3 19 3 19 12" fill="none" stroke="#aaa" stroke-width="1.5"/>' +
        '<path d="M3 12 H25 L26 25 H2 Z" fill="#b8b8b8"/><path d="M3 12 H25 V15 H3 Z" fill="#8a8a8a"/><path d="M13 14 h2 v3 h-2 Z" fill="#eee"/>',
    ),
    'Ankle boot': garment(
      '<path d="M14 3 H26 L26.5 24 H22 L20.5 21.5 C14 23 6 24 1 24 C0 20 4 19 8 17 C12 14 14 10 14 3 Z" fill="#b4b4b4"/>' +
        '<path d="M20 3 L21 16" stroke="#555" stroke-width="1.2"/>',
    ),
    Dress: garment(
      '<path d="M11 1 L12.5 4 H15.5 L17 1 L18.5 7 L17 12 L21 27 H7 L11 12 L9.5 7 Z" fill="#bdbdbd"/><path d="M11 11.5 H17 V13 H11 Z" fill="#7a7a7a"/>',
    ),
  },
}

/** Characters as a mouse draws them, 105 pixels wide. */
export const letters: Drawings = {
  domain: 'omniglot',
  side: 105,
  pixels: 105,
  format: 'png',
  images: Object.fromEntries(
    Object.entries({
      'Greek, character 16': lines(
        'M27 30 C30 23 36 23 44 23 L78 20',
        'M41 24 V70',
        'M65 20 V56 C66 66 72 70 78 68 C82 66 81 63 80 61',
      ),
      'Greek, character 08': lines('M54 16 C30 16 28 86 54 86 C80 86 78 16 54 16 Z', 'M35 51 H73'),
      'Greek, character 23': lines('M30 18 L27 48 C34 60 70 62 74 44 L73 32 L77 15', 'M52 14 L51 70 L49 101'),
    }).map(([label, body]) => [label, `<rect width="105" height="105" fill="#fff"/>${stroke(4.4, body)}`]),
  ),
}

const skin = '#b08a68'
const finger = (x: number, y: number, toX: number, toY: number, width: number) =>
  `<path d="M${x} ${y} L${toX} ${toY}" stroke="#7d5c42" stroke-width="${width + 1.6}" stroke-linecap="round"/>` +
  `<path d="M${x} ${y} L${toX} ${toY}" stroke="${skin}" stroke-width="${width}" stroke-linecap="round"/>`
const wall =
  '<defs><radialGradient id="w"><stop offset="0" stop-color="#d8d4d0"/><stop offset="1" stop-color="#b4b2b8"/></radialGradient></defs><rect width="100" height="100" fill="url(#w)"/>'
const palm = `<path d="M34 62 C32 80 40 84 41 101 H62 C62 86 72 80 68 60 C60 52 42 52 34 62 Z" fill="${skin}" stroke="#7d5c42" stroke-width="1"/>`

export const handSigns: Drawings = {
  domain: 'sign_digits',
  side: 100,
  pixels: 100,
  format: 'jpg',
  images: {
    5:
      wall +
      finger(38, 62, 22, 26, 8) +
      finger(46, 58, 40, 12, 8.5) +
      finger(55, 58, 58, 11, 8.5) +
      finger(63, 60, 74, 20, 8.5) +
      finger(62, 82, 90, 58, 9.5) +
      palm,
  },
}
