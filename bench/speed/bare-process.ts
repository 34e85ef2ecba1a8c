/** A bare server of fastify and sharp without a model: it shows what HTTP and decoding cost by themselves. */
import type { AddressInfo } from 'node:net'
import fastify from 'fastify'
import sharp from 'sharp'
import { answer } from '../processes.js'

sharp.concurrency(1)
sharp.cache(false)

const app = fastify()
app.addContentTypeParser(
  'application/octet-stream',
  { parseAs: 'buffer' },
  async (_: unknown, body: Buffer) => body,
)
app.post('/v1/domains/:domain/predict', async (request) => {
  const pixels = await sharp(request.body as Buffer)
    .resize(72, 72, { fit: 'fill', kernel: 'linear' })
    .extract({ left: 4, top: 4, width: 64, height: 64 })
    .removeAlpha()
    .raw()
    .toBuffer()
  return { results: [{ bytes: pixels.length }] }
})
await app.listen({ host: '127.0.0.1', port: 0 })

answer<{ type: 'hello' | 'url'; id: number }>(
  async () => `http://127.0.0.1:${(app.server.address() as AddressInfo).port}`,
  () => app.close(),
)
