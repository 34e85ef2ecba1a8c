/** Bad input to the whole service: the error names what is wrong, and nothing has changed. */
import { once } from 'node:events'
import { readdir, readFile } from 'node:fs/promises'
import { connect } from 'node:net'
import t, { type Test } from 'tap'
import { readSafetensors, type Tensor, writeSafetensors } from '../src/safetensors/safetensors.js'
import { writePack } from '../src/pack/write.js'
import { nodeFs, type StoreFs } from '../src/store/fs.js'
import { family } from './engine-rig.js'
import { tinyFamily, tinyPack } from './families.js'
import { fsError } from './memory-disk.js'
import { drawPng } from './png.js'
import { metric, packBytes, pngImage, predict, put, runService } from './service-rig.js'
import { until } from './until.js'

/** The real disk, full while `full` is set: half a write fits. */
let full = false
const crammed: StoreFs = {
  ...nodeFs,
  async create(path) {
    const file = await nodeFs.create(path)
    let room = true
    const write = async (bytes: Uint8Array) => {
      if (!full) return file.write(bytes)
      if (!room) throw fsError('ENOSPC', path)
      room = false
      return file.write(bytes.subarray(0, bytes.length >> 1))
    }
    return { ...file, write }
  },
}

const { url, data } = await runService(t, [], { fs: crammed })
const image = await pngImage(1)
const sound = packBytes(1, 'sound')
await put(url, 'shop', sound)

const listing = async () => (await fetch(`${url}/v1/domains?limit=1000`)).text()
const stored = async () => {
  const entries = await readdir(data, { recursive: true, withFileTypes: true })
  return entries
    .filter((entry) => entry.isFile())
    .map(({ parentPath, name }) => `${parentPath}/${name}`)
    .sort()
}
const answer = await predict(url, 'shop', image)
const before = { listing: await listing(), stored: await stored() }

interface Refusal {
  status: number
  code: string
  detail: RegExp
  index?: number
}

/** A problem of this status and code that says what is wrong; and the service is as it was. */
async function refused(t: Test, what: string, response: Response, expected: Refusal): Promise<void> {
  const problem = (await response.json()) as Record<string, unknown>
  const { status, code, detail } = expected
  t.equal(response.status, status, `${what}: ${JSON.stringify(problem)}`)
  t.match(response.headers.get('content-type'), /^application\/problem\+json/)
  t.match(
    problem,
    { status, code, detail, ...(expected.index !== undefined && { index: expected.index }) },
    what,
  )
  t.notMatch(JSON.stringify(problem), /node_modules|\.ts:|\.js:|\/src\//, `${what}: no stack, no path`)
  t.equal(await listing(), before.listing, `${what}: the domains are as they were`)
  t.same(await stored(), before.stored, `${what}: so is the store`)
  t.same(await predict(url, 'shop', image), answer, `${what}: and the answers`)
}

t.test('images', async (t) => {
  const send = (body: string | Buffer<ArrayBuffer>, type?: string, path = '/v1/domains/shop/predict') =>
    fetch(`${url}${path}`, { method: 'POST', body, ...(type && { headers: { 'content-type': type } }) })
  const truncated = image.subarray(0, image.length >> 1)
  const large = Buffer.from(drawPng(10_000, 10_000, Buffer.from('small')))
  const images = (...texts: string[]) => JSON.stringify({ images: texts })
  const base64 = image.toString('base64')
  const cases: [string, Promise<Response>, Refusal][] = [
    [
      'not an image',
      send('hello, world', 'image/png'),
      { status: 415, code: 'unsupported_media_type', detail: /not a known image format.*JPEG, PNG/ },
    ],
    [
      'a PDF',
      send('%PDF-1.7\n', 'image/jpeg'),
      { status: 415, code: 'unsupported_media_type', detail: /The image is PDF/ },
    ],
    [
      'a truncated image',
      send(truncated, 'image/png'),
      { status: 422, code: 'undecodable_image', detail: /PNG image cannot be decoded.*truncated/ },
    ],
    [
      '100 megapixels',
      send(large, 'image/png'),
      { status: 413, code: 'image_too_large', detail: /10000 x 10000 pixels; at most 50000000/ },
    ],
    ['an empty body', send('', 'image/png'), { status: 400, code: 'empty_body', detail: /body is empty/ }],
    [
      'no body at all',
      fetch(`${url}/v1/domains/shop/predict`, { method: 'POST' }),
      { status: 400, code: 'empty_body', detail: /body is empty/ },
    ],
    [
      'a wrong content type',
      send('image=1', 'application/x-www-form-urlencoded'),
      { status: 415, code: 'unsupported_media_type', detail: /not "application\/x-www-form-urlencoded"/ },
    ],
    [
      'the second of two images truncated',
      send(images(base64, truncated.toString('base64')), 'application/json'),
      { status: 422, code: 'undecodable_image', detail: /PNG image cannot be decoded/, index: 1 },
    ],
    [
      'no base64',
      send(images(base64, 'not base64!'), 'application/json'),
      { status: 400, code: 'malformed_request', detail: /"!" at character 11/, index: 1 },
    ],
    [
      'an unknown field',
      send('{"image": ""}', 'application/json'),
      { status: 400, code: 'malformed_request', detail: /"?images"?/ },
    ],
  ]
  for (const [what, response, expected] of cases) await refused(t, what, await response, expected)
})

t.test('domains', async (t) => {
  const send = (path: string) =>
    fetch(`${url}${path}`, { method: 'POST', headers: { 'content-type': 'image/png' }, body: image })
  const mixed = (disposition: string) => {
    const part = (fields: string) =>
      Buffer.concat([
        Buffer.from(`--edge\r\nContent-Disposition: form-data; ${fields}\r\nContent-Type: image/png\r\n\r\n`),
        image,
        Buffer.from('\r\n'),
      ])
    const body = Buffer.concat([
      part('name="shop"; filename="a.png"'),
      part(disposition),
      Buffer.from('--edge--\r\n'),
    ])
    return fetch(`${url}/v1/predict`, {
      method: 'POST',
      headers: { 'content-type': 'multipart/form-data; boundary=edge' },
      body,
    })
  }
  const cases: [string, Promise<Response>, Refusal][] = [
    [
      'a part without a domain',
      mixed('filename="b.png"'),
      { status: 400, code: 'bad_domain_id', detail: /part has no name/, index: 1 },
    ],
    [
      'a part of an unknown domain',
      mixed('name="nowhere"; filename="b.png"'),
      { status: 404, code: 'unknown_domain', detail: /"nowhere"/, index: 1 },
    ],
    [
      'a part of a bad domain id',
      mixed('name="No Where"; filename="b.png"'),
      { status: 400, code: 'bad_domain_id', detail: /"No Where" is not a domain id/, index: 1 },
    ],
    [
      'an unknown domain',
      send('/v1/domains/nowhere/predict'),
      { status: 404, code: 'unknown_domain', detail: /no domain "nowhere"/ },
    ],
    [
      'a bad domain id',
      send('/v1/domains/..%2fshop/predict'),
      { status: 400, code: 'bad_domain_id', detail: /"\.\.\/shop" is not a domain id/ },
    ],
    [
      'a pack for a bad domain id',
      put(url, 'Shop', sound),
      { status: 400, code: 'bad_domain_id', detail: /"Shop" is not a domain id/ },
    ],
    [
      'a bad top_k',
      send('/v1/domains/shop/predict?top_k=0'),
      { status: 400, code: 'bad_parameter', detail: /top_k must be a whole number, 1 or more; it is "0"/ },
    ],
  ]
  for (const [what, response, expected] of cases) await refused(t, what, await response, expected)
})

/** A valid pack of another seed with a change. */
function changed(change: (tensors: Map<string, Tensor>, metadata: Record<string, string>) => void) {
  const { tensors, metadata } = readSafetensors(packBytes(2, 'other'))
  const edited: Record<string, string> = { ...metadata }
  change(tensors, edited)
  return Uint8Array.from(writeSafetensors(tensors, edited))
}

t.test('packs (pain 7: a bad one harms nobody)', async (t) => {
  const slot = family.manifest.slots[1]!
  const [matrix, bias] = [`${slot.name}.matrix`, `${slot.name}.bias`]
  const nan = changed((tensors) => {
    const tensor = tensors.get(matrix)!
    const bytes = new Uint8Array(tensor.bytes)
    new DataView(bytes.buffer).setUint16(6, 0x7e00, true)
    tensors.set(matrix, { ...tensor, bytes })
  })
  const misshapen = changed((tensors) => {
    const tensor = tensors.get(matrix)!
    tensors.set(matrix, { ...tensor, shape: [slot.columns, slot.out] })
  })
  const half = changed((tensors) => void tensors.delete(bias))
  const otherFamily = changed((_, metadata) => {
    metadata.family = 'f'.repeat(64)
  })
  const tiny = tinyFamily()
  const secondFamily = Uint8Array.from(writePack(tinyPack(tiny), tiny, { dtype: 'f32' }))
  const all = changed((tensors, metadata) => {
    tensors.delete(bias)
    metadata.design = 'huge'
  })
  const invalid = (detail: RegExp): Refusal => ({ status: 422, code: 'invalid_pack', detail })
  const cases: [string, Uint8Array<ArrayBuffer>, Refusal][] = [
    ['a pack of another family', otherFamily, invalid(/family is "f{40,}.*another family/)],
    ["a second family's pack", secondFamily, invalid(/another family/)],
    ['a truncated pack', sound.slice(0, sound.length - 7), invalid(/truncated|bytes/)],
    ['a pack cut in its header', sound.slice(0, 100), invalid(/header/)],
    ['NaN', nan, invalid(new RegExp(`"${matrix}": value 3 is NaN`))],
    [
      'a misshapen slot',
      misshapen,
      invalid(new RegExp(`"${matrix}" has shape .*expected \\[${slot.out},${slot.columns}\\]`)),
    ],
    ['a half-given slot', half, invalid(new RegExp(`slot "${slot.name}" has .* but no "${bias}"`))],
    ['two problems at once', all, invalid(/and \d+ more/)],
    ['no pack', Uint8Array.from(image), invalid(/./)],
    ['an empty body', new Uint8Array(), { status: 400, code: 'empty_body', detail: /body is empty/ }],
  ]
  for (const [what, bytes, expected] of cases) {
    await refused(t, `${what}, new domain`, await put(url, 'fresh', bytes), expected)
    await refused(t, `${what}, known domain`, await put(url, 'shop', bytes), expected)
  }
  const form = new FormData()
  form.append('file', new Blob([sound]), 'pack.safetensors')
  const response = await fetch(`${url}/v1/domains/fresh`, { method: 'PUT', body: form })
  const detail = /its name is 'pack'/
  await refused(t, 'a part of another name', response, { status: 400, code: 'malformed_request', detail })
})

t.test('an upload that stops half-way', async (t) => {
  const gone = () => metric(url, 'facet_requests_total{route="/v1/domains/{domain}",code="499",method="PUT"}')
  const { port } = new URL(url)
  for (const [index, domain] of ['fresh', 'shop'].entries()) {
    const socket = connect(Number(port), '127.0.0.1')
    const body = packBytes(2, 'other')
    await once(socket, 'connect')
    socket.write(
      `PUT /v1/domains/${domain} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/octet-stream\r\n` +
        `Content-Length: ${body.length}\r\n\r\n`,
    )
    await new Promise((written) => socket.write(body.subarray(0, body.length >> 1), written))
    socket.destroy()
    await until(async () => (await gone()) > index)
    t.equal(await listing(), before.listing, domain)
    t.same(await stored(), before.stored)
    t.same(await predict(url, 'shop', image), answer)
  }
})

t.test('a full disk', async (t) => {
  full = true
  const detail = /disk is full \(ENOSPC\): free some space\. Nothing has changed/
  const expected = { status: 507, code: 'store_full', detail }
  const pack = packBytes(2, 'other')
  await refused(t, 'a new domain', await put(url, 'fresh', pack), expected)
  await refused(t, 'a known domain', await put(url, 'shop', pack), expected)
  await refused(t, 'a staged version', await put(url, 'shop', pack, '?activate=false'), expected)
  full = false
  t.equal((await put(url, 'fresh', pack)).status, 201, 'with space again the same upload is taken')
})

t.test('a family with a broken manifest ends the start, which says where', async (t) => {
  const manifest = JSON.parse(await readFile('models/resnet26-half/family.json', 'utf8'))
  manifest.input.height = 'tall'
  const dir = t.testdir({ models: { 'family.json': JSON.stringify(manifest) }, data: {} })
  await t.rejects(runService(t, ['--family', `${dir}/models`, '--data', `${dir}/data`]), {
    message: /models\/family\.json.*input.height/s,
  })
  t.same(await readdir(`${dir}/data`), [], 'nothing was touched')
})
