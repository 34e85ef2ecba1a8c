/** Pixels for the encoders: from what costs nothing to store to what cannot be compressed. */
import { randomFillSync } from 'node:crypto'
import sharp, { type Sharp } from 'sharp'

export const contents = ['flat', 'soft', 'noise'] as const
export type Content = (typeof contents)[number]

/** An image of these pixels, with alpha of its own where `channels` is 4. */
export async function picture(
  content: Content,
  width: number,
  height: number,
  channels: 3 | 4 = 3,
): Promise<Sharp> {
  if (content === 'flat') {
    const background = { r: 90, g: 110, b: 130, alpha: 0.5 }
    return sharp({ create: { width, height, channels, background }, limitInputPixels: false })
  }
  const scale = content === 'soft' ? 16 : 1
  const small = { width: Math.ceil(width / scale), height: Math.ceil(height / scale) }
  const noise = randomFillSync(Buffer.alloc(small.width * small.height * channels))
  const image = sharp(noise, { raw: { ...small, channels }, limitInputPixels: false })
  if (scale === 1) return image
  const pixels = await image.resize(width, height, { fit: 'fill', kernel: 'cubic' }).raw().toBuffer()
  return sharp(pixels, { raw: { width, height, channels }, limitInputPixels: false })
}
