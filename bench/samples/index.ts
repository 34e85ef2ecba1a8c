/**
 * `npm run samples`: draws the sample images of `samples/`, `<domain>/<label>.png` or `.jpg`. They are this project's
 * own: SVG with seeded noise, no text (fonts differ between machines), rendered at the size of the data set's images.
 */
import { mkdir, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import sharp from 'sharp'
import { clothing, type Drawings, handSigns, letters, sketches } from './drawn.js'
import { cells, land, textures } from './grounds.js'
import { aerial, flowers, objects, waste } from './objects.js'
import { signs } from './signs.js'

const all: Drawings[] = [
  sketches,
  clothing,
  letters,
  handSigns,
  signs,
  textures,
  land,
  cells,
  flowers,
  aerial,
  waste,
  objects,
]

const out = process.argv[2] ?? 'samples'
for (const { domain, side, pixels, format, images } of all) {
  for (const [label, body] of Object.entries(images)) {
    const svg = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${side} ${side}" width="${pixels}" height="${pixels}">${body}</svg>`
    const drawn = sharp(Buffer.from(svg)).flatten({ background: '#fff' })
    const image = domain === 'omniglot' ? drawn.threshold(128) : drawn
    const path = join(out, domain, `${label}.${format}`)
    await mkdir(dirname(path), { recursive: true })
    const bytes = await (format === 'png'
      ? image.png({ palette: domain === 'sketch' })
      : image.jpeg({ quality: 90 })
    ).toBuffer()
    await writeFile(path, bytes)
    console.log(`${path}: ${bytes.length} bytes`)
  }
}
