/** Where an image is decoded makes no difference to what comes of it, nor to what is said of a bad one. */
import { readFileSync } from 'node:fs'
import t from 'tap'
import { Decoder, type DecoderOptions } from '../src/decoder.js'
import { decodeImage } from '../src/image.js'
import type { InputSpec } from '../src/manifest/manifest.js'
import { ManualClock } from './manual-clock.js'

const input: InputSpec = {
  height: 64,
  width: 64,
  resize: 72,
  kernel: 'linear',
  mean: [0, 0, 0],
  std: [1, 1, 1],
}
const maxPixels = 1_000_000
const fixture = (name: string): Buffer => readFileSync(new URL(`./fixtures/images/${name}`, import.meta.url))

function decoder(options: Partial<DecoderOptions> = {}): Decoder {
  const clock = new ManualClock()
  return new Decoder({
    input,
    clock,
    threads: 2,
    maxWaiting: 100,
    maxWaitingOfOne: 100,
    maxPixels,
    ...options,
  })
}

t.test('many at once: the first few here, the others in libvips, all with the same pixels', async (t) => {
  const names = [
    'colour.png',
    'colour.jpg',
    'grey.png',
    'exif-6.jpg',
    'large.jpg',
    'colour.webp',
    'size-40x30.png',
  ]
  const wanted = new Map<string, Buffer>()
  for (const name of names)
    wanted.set(name, Buffer.from(await decodeImage(fixture(name), input, { maxPixels })))
  const own = decoder()
  const sent = Array.from({ length: 56 }, (_, index) => names[index % names.length]!)
  const found = await Promise.all(sent.map((name) => own.decode(fixture(name), {})))
  for (const [index, name] of sent.entries()) t.ok(wanted.get(name)!.equals(found[index]!), name)
})

t.test('a small image needs no thread', async (t) => {
  const own = decoder({ threads: 0, maxWaiting: 0 })
  t.equal((await own.decode(fixture('colour.png'), {})).length, 64 * 64 * 3)
  await t.rejects(own.decode(fixture('colour.webp'), {}), { code: 'queue_full' })
})

t.test('bad images are refused in the same words', async (t) => {
  const damaged = Buffer.from(fixture('colour.png')).fill(0xff, 400, 440)
  const bad = [damaged, fixture('colour.jpg').subarray(0, 900), Buffer.from('no image'), new Uint8Array()]
  for (const bytes of bad) {
    const said = await decodeImage(bytes, input, { maxPixels }).catch((error: unknown) => error as Error)
    t.ok(said instanceof Error)
    await t.rejects(decoder().decode(bytes, {}), { message: (said as Error).message })
  }
  const most = decoder({ maxPixels: 100 })
  await t.rejects(most.decode(fixture('colour.png'), {}), { code: 'image_too_large' })
})

t.test('a client that left is told so, also while the image waits for its turn', async (t) => {
  const reasons: string[] = []
  const own = decoder({ refused: (reason) => reasons.push(reason) })
  await t.rejects(own.decode(fixture('colour.png'), { signal: AbortSignal.abort() }), {
    code: 'client_closed',
  })
  const client = new AbortController()
  const first = own.decode(fixture('colour.png'), {})
  const second = own.decode(fixture('colour.png'), { signal: client.signal })
  client.abort()
  await t.rejects(second, { code: 'client_closed' })
  t.equal((await first).length, 64 * 64 * 3)
  t.same(reasons, ['client_closed', 'client_closed'])
})
