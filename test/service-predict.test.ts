/**
 * Predictions through HTTP: the shipped packs compared with PyTorch, every kind of body, mixed domains in one
 * run.
 */
import { readFile } from 'node:fs/promises'
import sharp from 'sharp'
import t from 'tap'
import { readSafetensors } from '../src/safetensors/safetensors.js'
import { createLauncher } from './decoder.js'
import { family, relativeError } from './engine-rig.js'
import { Fault } from './faulty-worker-control.mjs'
import { settle } from './manual-clock.js'
import { packBytes, pngImage, type Prediction, post, put, runService } from './service-rig.js'
import { until } from './until.js'

const ALL = 'top_k=100000'
const { height, width, resize } = family.manifest.input
const golden = readSafetensors(await readFile('test/fixtures/golden/resnet26-half.safetensors'))
const bytesOf = (name: string) => new Uint8Array(golden.tensors.get(name)!.bytes)
/** One image's row of a golden tensor. */
const rowOf = (name: string, index: number) => {
  const length = golden.tensors.get(name)!.shape[1]!
  return new Float32Array(bytesOf(name).buffer).subarray(index * length, (index + 1) * length)
}
const goldenDomains = [...golden.tensors.keys()]
  .filter((name) => name.startsWith('logits.'))
  .map((name) => name.slice('logits.'.length))

/** A PNG for which resize and crop are the identity: the pixels in the middle of a frame. */
async function framed(pixels: Uint8Array): Promise<Buffer<ArrayBuffer>> {
  const middle = sharp(pixels, { raw: { width, height, channels: 3 } })
  const [x, y] = [(resize - width) / 2, (resize - height) / 2]
  const frame = { left: x, right: x, top: y, bottom: y, background: '#123456' }
  return (await middle.extend(frame).png().toBuffer()) as Buffer<ArrayBuffer>
}

const goldenImages = await Promise.all(
  Array.from({ length: golden.tensors.get('pixels')!.shape[0]! }, (_, index) => {
    const size = height * width * 3
    return framed(bytesOf('pixels').subarray(index * size, (index + 1) * size))
  }),
)

const { url, service, control } = await runService(t, ['--max-batch', '8'])

async function results<T = Prediction>(answer: Promise<Response>): Promise<T[]> {
  const response = await answer
  if (!response.ok) throw new Error(`HTTP ${response.status}: ${await response.text()}`)
  return ((await response.json()) as { results: T[] }).results
}

function send(path: string, body: FormData | string): Promise<Response> {
  const json = typeof body === 'string' && { headers: { 'content-type': 'application/json' } }
  return fetch(`${url}${path}`, { method: 'POST', body, ...json })
}

function form(parts: [name: string, image: Buffer<ArrayBuffer>][]): FormData {
  const body = new FormData()
  for (const [name, image] of parts) body.append(name, new Blob([image]), 'image.png')
  return body
}

/** The scores in the order of the labels. */
function scores({ predictions }: Prediction): Float32Array {
  const values = new Float32Array(predictions.length)
  for (const { index, score } of predictions) values[index] = score
  return values
}

/** The distances of logits from the largest, which softmax keeps. */
const fromLargest = (values: Float32Array) => values.map((value) => value - Math.max(...values))

t.test('features and logits of the shipped packs are PyTorch’s, through all three bodies', async (t) => {
  t.ok(goldenDomains.length >= 4, `${goldenDomains}`)
  const images = form(goldenImages.map((image) => ['image', image]))
  const json = JSON.stringify({ images: goldenImages.map((image) => image.toString('base64')) })
  for (const domain of goldenDomains) {
    const path = `/v1/domains/${domain}`
    const embedded = await results<{ features: number[] }>(send(`${path}/embed`, images))
    const multipart = await results(send(`${path}/predict?${ALL}`, images))
    const single = await Promise.all(
      goldenImages.map((image) => results(post(url, `${path}/predict?${ALL}`, image))),
    )
    const errors = goldenImages.flatMap((_, index) => [
      relativeError(Float32Array.from(embedded[index]!.features), rowOf(`features.${domain}`, index)),
      relativeError(
        fromLargest(scores(multipart[index]!).map(Math.log)),
        fromLargest(rowOf(`logits.${domain}`, index)),
      ),
      relativeError(scores(single[index]![0]!), scores(multipart[index]!)),
    ])
    t.ok(Math.max(...errors) < 1e-4, `${domain}: relative errors ${errors}`)
    t.equal(multipart[0]!.predictions.length, service.registry.get(domain).classes)

    const encoded = await results(send(`${path}/predict?${ALL}`, json))
    t.equal(encoded.length, goldenImages.length)
    for (const [index, result] of encoded.entries())
      t.ok(relativeError(scores(result), scores(multipart[index]!)) < 1e-4, `JSON, image ${index}`)
  }
})

const mixed = service.registry
  .list({ limit: 100 })
  .domains.map(({ domain }) => domain)
  .slice(0, 8)
const images = await Promise.all(mixed.map((_, index) => pngImage(index + 1)))

async function alone(): Promise<Prediction[]> {
  const answers: Prediction[] = []
  for (const [index, domain] of mixed.entries())
    answers.push(...(await results(post(url, `/v1/domains/${domain}/predict?${ALL}`, images[index]!))))
  return answers
}

t.test('a request of eight domains keeps its order, and each answer is the one it gets alone', async (t) => {
  t.equal(mixed.length, 8, `${mixed}`)
  const expected = await alone()
  const order = [5, 0, 7, 2, 2, 6, 1, 4, 3]
  const body = form(order.map((index) => [mixed[index]!, images[index]!]))
  const together = await results(send(`/v1/predict?${ALL}`, body))
  t.same(
    together.map(({ domain }) => domain),
    order.map((index) => mixed[index]),
  )
  for (const [position, index] of order.entries()) {
    const [result, single] = [together[position]!, expected[index]!]
    t.equal(result.version, single.version)
    t.ok(relativeError(scores(result), scores(single)) < 1e-4, `${result.domain}, part ${position}`)
  }
})

t.test('eight samples of eight domains are one run, each answered as it is alone', async (t) => {
  const expected = await alone()
  control.nextRun(Fault.waits)
  const held = results(post(url, `/v1/domains/${mixed[0]}/predict`, images[0]!))
  await control.inRun()
  const waiting = mixed.map((domain, index) =>
    results(post(url, `/v1/domains/${domain}/predict?${ALL}`, images[index]!)),
  )
  await until(() => service.runtimes[0].scheduler.length >= mixed.length)
  const before = control.runs
  control.release()
  const answers = (await Promise.all(waiting)).flat()
  t.equal(control.runs - before, 1)
  await held
  for (const [index, answer] of answers.entries())
    t.ok(relativeError(scores(answer), scores(expected[index]!)) < 1e-4, answer.domain)
})

t.test('a staged version answers requests that name it, and no others', async (t) => {
  const created = await put(url, 'shop', packBytes(1, 'old'))
  t.equal(created.status, 201)
  const staged = await put(url, 'shop', packBytes(2, 'new'), '?activate=false')
  t.equal(staged.status, 200)
  const { uploaded, version } = (await staged.json()) as { uploaded: string; version: string }
  t.not(uploaded, version)
  const ask = async (query: string) =>
    (await results(post(url, `/v1/domains/shop/predict${query}`, images[0]!)))[0]!
  t.match(await ask(''), { version, predictions: [{ label: /^old-/ }] })
  t.match(await ask(`?version=${uploaded}`), { version: uploaded, predictions: [{ label: /^new-/ }] })
  t.match(await ask(`?version=${uploaded.slice(0, 8)}&top_k=2`), {
    version: uploaded,
    predictions: { length: 2 },
  })
  const missing = await post(url, '/v1/domains/shop/predict?version=abcdef0', images[0]!)
  t.equal(missing.status, 404)
  t.match(await missing.json(), { code: 'unknown_version', detail: /abcdef0/ })
})

t.test('an answer says how long it took and which request it is of', async (t) => {
  const headers = { 'content-type': 'image/png', 'x-request-id': 'shelf-7.1' }
  const ask = (own: Record<string, string>) =>
    fetch(`${url}/v1/domains/base/predict`, {
      method: 'POST',
      headers: { ...headers, ...own },
      body: images[0]!,
    })
  const response = await ask({})
  t.match(
    response.headers.get('server-timing'),
    /^decode;dur=[\d.]+, queue;dur=[\d.]+, inference;dur=[\d.]+$/,
  )
  t.equal(response.headers.get('x-request-id'), 'shelf-7.1')
  const made = (await ask({ 'x-request-id': 'not ours!' })).headers.get('x-request-id')
  t.match(made, /^[0-9a-f-]{36}$/)
})

t.test('an AVIF is decoded in a process of its own, which ends with the service', async (t) => {
  const processes = () => process.getActiveResourcesInfo().filter((name) => name === 'ProcessWrap').length
  const before = processes()
  let decoded = 0
  const { service, url } = await runService(t, [], {
    createLauncher: (options) => {
      const launcher = createLauncher(options)
      return {
        start: () => {
          const child = launcher.start()
          void child.stream.then((stream) =>
            stream.on('data', (bytes: Uint8Array) => {
              decoded += bytes.length
            }),
          )
          return child
        },
        stop: () => launcher.stop(),
      }
    },
  })
  const picture = sharp(await pngImage(5, 300))
  const as = async (image: Promise<Buffer>) => {
    const response = await post(url, '/v1/domains/base/embed', (await image) as Buffer<ArrayBuffer>)
    t.equal(response.status, 200)
    const { results } = (await response.json()) as { results: { features: number[] }[] }
    return Float32Array.from(results[0]!.features)
  }
  const wanted = await as(picture.clone().png().toBuffer())
  t.equal(decoded, 0)
  const found = await as(picture.clone().avif({ lossless: true, effort: 0 }).toBuffer())
  t.ok(decoded > height * width * 3)
  t.equal(processes(), before + 1, 'the launcher, which has started the other one')
  t.ok(relativeError(found, wanted) < 0.05)
  await service.stop()
  await settle()
  t.equal(processes(), before)
})
