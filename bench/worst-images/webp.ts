/** WebPs from sharp's encoder. */
import sharp from 'sharp'
import { type Content, contents, picture } from './content.js'
import { type Kind, shapes, sides } from './kind.js'

const MAX_SIDE = 16_383

export const webp: Kind = {
  format: 'webp',
  choices: {
    ...shapes,
    megapixels: [50, 24, 12, 8, 4, 2, 1],
    content: contents,
    lossless: [false, true],
    alpha: [false, true],
    quality: [80, 1, 100],
  },
  corners: [
    {},
    { alpha: true, megapixels: 24 },
    { lossless: true },
    { lossless: true, alpha: true, megapixels: 24 },
    { lossless: true, content: 'noise', megapixels: 4 },
    { lossless: true, alpha: true, content: 'noise', megapixels: 2 },
    { content: 'noise', megapixels: 24, quality: 1 },
    { content: 'noise', megapixels: 12, quality: 80 },
    { content: 'noise', alpha: true, megapixels: 8 },
    { content: 'soft', megapixels: 24 },
    { lossless: true, content: 'soft', megapixels: 4 },
    { alpha: true, aspect: 20, megapixels: 12 },
  ],
  async make(parameters) {
    const { width, height } = sides(parameters, MAX_SIDE)
    const image = await picture(parameters.content as Content, width, height, parameters.alpha ? 4 : 3)
    const [lossless, quality] = [parameters.lossless === true, Number(parameters.quality)]
    return image.webp({ effort: 0, lossless, quality }).toBuffer()
  },
}

export const animatedWebp: Kind = {
  format: 'webp',
  choices: {
    megapixels: [8, 4, 1, 0.1],
    aspect: [1],
    content: contents,
    lossless: [false, true],
    alpha: [false, true],
    frames: [2, 10],
  },
  corners: [{}, { lossless: true, alpha: true }, { megapixels: 0.1, frames: 10 }],
  async make(parameters) {
    const { width, height } = sides(parameters, MAX_SIDE)
    const channels = parameters.alpha ? 4 : 3
    const frames = Array.from({ length: Number(parameters.frames) }, async () => {
      const frame = await picture(parameters.content as Content, width, height, channels)
      return frame.png({ compressionLevel: 1 }).toBuffer()
    })
    const animation = sharp(await Promise.all(frames), { join: { animated: true }, limitInputPixels: false })
    return animation.webp({ effort: 0, lossless: parameters.lossless === true }).toBuffer()
  },
}
