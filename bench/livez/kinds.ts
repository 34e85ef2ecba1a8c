/** What a client may send, at its limits, one kind after the other. */
import { readFile } from 'node:fs/promises'
import type { Family } from '../../src/family/family.js'
import { packageFile } from '../../src/host/package.js'
import { domainName } from '../packs.js'
import { multipart } from '../soak/requests.js'
import { hostileHeaders, labelledPack, MOST_LABELS, numberedLabels } from './packs.js'
import type { Outgoing } from './wire.js'

export interface Kind {
  name: string
  /** @param round numbers the tries, so that an upload is new each time */
  make(round: number): Outgoing
}

/** Domain with a head of as many labels as there may be, which `setUp` registers. */
const LARGE_DOMAIN = 'large'
const PREDICT = '/v1/domains/eurosat/predict'
const LIMIT = 16 * 2 ** 20
const EDGE = 'livez-edge'

/** Requests that register what the kinds ask for, and give a hundred domains a series of their own in the metrics. */
export async function setUp(family: Family): Promise<Outgoing[]> {
  const jpeg = await readFile(packageFile('samples/eurosat/River.jpg'))
  const asked = [0, 50].map((first) => {
    const names = Array.from({ length: 50 }, (_, index) => domainName(first + index))
    const { type, body } = multipart(names.map((name) => ({ name, bytes: jpeg })))
    return post('/v1/predict', type, [Buffer.from(body)])
  })
  return [put(LARGE_DOMAIN, labelledPack(family, numberedLabels(MOST_LABELS, 24), 'f16')), ...asked]
}

/** @param other a pack of another family */
export async function kinds(family: Family, other: Uint8Array): Promise<Kind[]> {
  const jpeg = await readFile(packageFile('samples/eurosat/River.jpg'))
  const ordinary = await readFile(packageFile('adapters/resnet26-half/eurosat.safetensors'))
  return [
    ...rawKinds(jpeg),
    ...multipartKinds(jpeg),
    ...jsonKinds(jpeg),
    ...answerKinds(jpeg),
    ...headKinds(),
    ...packKinds(family, ordinary, other),
  ]
}

function rawKinds(jpeg: Buffer): Kind[] {
  const type = 'image/jpeg'
  const junk = Buffer.alloc(LIMIT, 'x')
  return [
    fixed('an image', post(PREDICT, type, [jpeg])),
    fixed('raw: 200,000 one-byte chunks', chunked(PREDICT, type, tiny(200_000))),
    fixed('raw: a million one-byte chunks', chunked(PREDICT, type, tiny(1_000_000))),
    fixed('raw: chunks of 64 bytes', chunked(PREDICT, type, chunks(junk, 64))),
    fixed('raw: chunks of 4 KiB', chunked(PREDICT, type, chunks(junk, 4096))),
    fixed('raw: one chunk with long extensions', chunked(PREDICT, type, [extended(), END])),
    fixed('raw: 16 MiB', post(PREDICT, type, [junk])),
    fixed('raw: beyond 16 MiB', chunked(PREDICT, type, chunks(Buffer.concat([junk, junk]), 65_536))),
  ]
}

function multipartKinds(jpeg: Buffer): Kind[] {
  const type = (edge: string) => `multipart/form-data; boundary=${edge}`
  const form = (parts: readonly Buffer[], edge = EDGE) =>
    post(PREDICT, type(edge), [Buffer.concat([...parts, Buffer.from(`--${edge}--\r\n`)])])
  const part = (bytes: Buffer, edge = EDGE, fields = '') =>
    Buffer.concat([
      Buffer.from(`--${edge}\r\nContent-Disposition: form-data; name="a"; filename="a"\r\n${fields}\r\n`),
      bytes,
      Buffer.from('\r\n'),
    ])
  const repeated = (piece: Buffer, bytes = LIMIT - 1000) =>
    Buffer.alloc(bytes - (bytes % piece.length), piece)
  const long = 'b'.repeat(70)
  return [
    fixed('multipart: 64 images', form(Array(64).fill(part(jpeg)))),
    fixed('multipart: heads at their limits', form(Array(64).fill(part(jpeg, EDGE, largeFields())))),
    fixed('multipart: heads beyond their limits', form([part(jpeg, EDGE, 'X: y\r\n'.repeat(2_000_000))])),
    fixed('multipart: one long head', form([part(jpeg, EDGE, `X: ${'y'.repeat(LIMIT - 1000)}\r\n`)])),
    fixed('multipart: parts of one byte', form([repeated(part(Buffer.from('x')))])),
    fixed('multipart: empty parts', form([repeated(Buffer.from(`--${EDGE}\r\n\r\n\r\n`))])),
    fixed('multipart: boundaries alone', form([repeated(Buffer.from(`--${EDGE}\r\n`))])),
    fixed(
      'multipart: a long boundary, nearly',
      form([part(repeated(Buffer.from(`\r\n--${long.slice(1)}`)), long)], long),
    ),
    fixed('multipart: a short boundary, nearly', form([part(repeated(Buffer.from('\r\n--X')), 'X1')], 'X1')),
    fixed('multipart: line ends', form([part(repeated(Buffer.from('\r\n')))])),
    fixed('multipart: beginnings of boundaries', form([part(repeated(Buffer.from('\r\n--')))])),
    fixed(
      'multipart: 200,000 one-byte chunks',
      chunked(PREDICT, type(EDGE), chunks(part(Buffer.alloc(200_000, 'x')), 1)),
    ),
    fixed(
      'multipart: chunks of 64 bytes',
      chunked(PREDICT, type(EDGE), chunks(part(Buffer.alloc(LIMIT - 1000)), 64)),
    ),
  ]
}

function jsonKinds(jpeg: Buffer): Kind[] {
  const type = 'application/json'
  const json = (text: string) => post(PREDICT, type, [Buffer.from(text)])
  const images = (content: string) => json(`{"images":[${content}]}`)
  const filled = (unit: string) => unit.repeat(Math.floor((LIMIT - 64) / unit.length))
  const base64 = jpeg.toString('base64')
  return [
    fixed('json: objects', images(`${filled('{},')}{}`)),
    fixed('json: zeros', images(`${filled('0,')}0`)),
    fixed('json: empty strings', images(`${filled('"",')}""`)),
    fixed(
      'json: 20,000 strings',
      images(
        Array(19_990)
          .fill(`"${'A'.repeat(800)}"`)
          .join(),
      ),
    ),
    fixed('json: long keys twice', json(`{${`"${'k'.repeat(4000)}":0,`.repeat(4000)}"k":0}`)),
    fixed('json: nesting', json(filled('['))),
    fixed('json: blanks', json(`${filled(' ')}{}`)),
    fixed('json: digits', images(filled('1'))),
    fixed('json: a string without an end', json(`{"${filled('x')}`)),
    fixed('json: escaped quotes', images(`"${filled('\\"')}"`)),
    fixed('json: escaped slashes', images(`"${filled('\\/')}"`)),
    fixed('json: backslashes', images(`"${filled('\\\\')}"`)),
    fixed('json: code points', images(`"${filled('\\u0041')}"`)),
    fixed('json: surrogates', images(`"${filled('\\ud83d\\ude00')}"`)),
    fixed('json: not ASCII', images(`"${'ж'.repeat(LIMIT / 2 - 64)}"`)),
    fixed('json: one image of 16 MiB', images(`"${filled('AbC/')}"`)),
    fixed(
      'json: 64 images of 256 KiB',
      images(
        Array(64)
          .fill(`"${'AbC/'.repeat(65_400)}"`)
          .join(),
      ),
    ),
    fixed('json: 64 images', images(Array(64).fill(`"${base64}"`).join())),
    fixed('json: a million one-byte chunks', chunked(PREDICT, type, tiny(1_000_000))),
    fixed(
      'json: chunks of 64 bytes',
      chunked(PREDICT, type, chunks(Buffer.from(`{"images":["${filled('A')}"]}`), 64)),
    ),
  ]
}

function answerKinds(jpeg: Buffer): Kind[] {
  const list = (count: number) => {
    const texts = Array(count).fill(`"${jpeg.toString('base64')}"`)
    return [Buffer.from(`{"images":[${texts.join()}]}`)]
  }
  const ask = (path: string, count: number) => post(`/v1/domains/${path}`, 'application/json', list(count))
  return [
    fixed('top_k: all of 32,768 labels, 4 images', ask(`${LARGE_DOMAIN}/predict?top_k=32768`, 4)),
    fixed('top_k: all of 32,768 labels, 64 images', ask(`${LARGE_DOMAIN}/predict?top_k=32768`, 64)),
    fixed('top_k: 1,000 of 32,768 labels, 64 images', ask(`${LARGE_DOMAIN}/predict?top_k=1000`, 64)),
    fixed('top_k: 5 of 32,768 labels, 64 images', ask(`${LARGE_DOMAIN}/predict`, 64)),
    fixed('embed: 64 images', ask('eurosat/embed', 64)),
    fixed('listing: 1,000 domains', get('/v1/domains?limit=1000')),
    fixed('metrics: 100 domains', get('/metrics')),
    fixed('openapi.yaml', get('/openapi.yaml')),
    fixed('the pack of a domain', get(`/v1/domains/${LARGE_DOMAIN}/pack`)),
  ]
}

function headKinds(): Kind[] {
  const room = 15_000
  const fields = Array.from({ length: room / 6 }, (_, index) => `${(index % 1000).toString(36)}: a`)
  const pipelined = Buffer.from('GET /livez HTTP/1.1\r\nHost: a\r\n\r\n'.repeat(10_000))
  return [
    fixed('head: a long path', get(`/v1/domains/${'a'.repeat(room)}`)),
    fixed('head: a path of many segments', get('/a'.repeat(room / 2))),
    fixed('head: percent signs', get(`/v1/domains/${'%41'.repeat(room / 3)}`)),
    fixed('head: a long query', get(`/v1/domains?limit=${'1'.repeat(room)}`)),
    fixed('head: many parameters', get(`/v1/domains?${'a&'.repeat(room / 2)}`)),
    fixed('head: encoded parameters', get(`/v1/domains?${'%41=%41&'.repeat(room / 8)}`)),
    fixed('head: a long field', { head: ['GET /livez HTTP/1.1', `X: ${'y'.repeat(room)}`] }),
    fixed('head: many fields', { head: ['GET /livez HTTP/1.1', ...fields] }),
    fixed('head: a long token', {
      head: ['GET /v1/domains HTTP/1.1', `Authorization: Bearer ${'a '.repeat(room / 2)}`],
    }),
    fixed('head: many entity tags', {
      head: ['GET /v1/domains/eurosat/pack HTTP/1.1', `If-None-Match: ${'"a",'.repeat(room / 4)}"a"`],
    }),
    fixed('head: many addresses', {
      head: ['GET /v1/domains HTTP/1.1', `X-Forwarded-For: ${'1.1.1.1,'.repeat(room / 8)}`],
    }),
    fixed('head: a content type of blanks', {
      head: [
        `POST ${PREDICT} HTTP/1.1`,
        `Content-Type: multipart/form-data;${' '.repeat(room)}a`,
        'Content-Length: 1',
      ],
      body: [Buffer.from('x')],
    }),
    fixed('pipelined: 10,000 requests', { head: ['GET /livez HTTP/1.1'], before: pipelined }),
  ]
}

function packKinds(family: Family, ordinary: Uint8Array, other: Uint8Array): Kind[] {
  const { features } = family.manifest
  const labels = (length: number) => numberedLabels(MOST_LABELS, length)
  /** The most classes whose f32 head is within --max-pack. */
  const classes = Math.min(MOST_LABELS, Math.floor((60 * 2 ** 20) / (4 * features + 4)))
  const half = labelledPack(family, labels(0), 'f16')
  const whole = labelledPack(family, numberedLabels(classes), 'f32')
  const long = labelledPack(family, labels(26), 'f16')
  const upload = (name: string, pack: Uint8Array): Kind => ({
    name: `pack: ${name}`,
    make: (round) => put('upload', numbered(pack, round)),
  })
  return [
    upload('ordinary', ordinary),
    upload('32,768 labels, f16', half),
    upload('many labels, f32', whole),
    upload('32,768 labels, header at its limit', long),
    upload('of another family', other),
    { name: 'pack: in a part', make: (round) => inPart(numbered(half, round)) },
    { name: 'pack: f32 in a part', make: (round) => inPart(numbered(whole, round)) },
    { name: 'pack: f32 in chunks', make: (round) => inChunks(numbered(whole, round)) },
    { name: 'pack: zeros', make: () => put('upload', Buffer.alloc(64 * 2 ** 20)) },
    ...Object.entries(hostileHeaders()).map(([name, file]) => upload(name, file)),
  ]
}

/** The pack with other last weights. */
function numbered(pack: Uint8Array, round: number): Buffer {
  const bytes = Buffer.from(pack)
  bytes.writeUInt8((bytes[bytes.length - 4]! + round + 1) & 0xff, bytes.length - 4)
  return bytes
}

function inPart(pack: Buffer): Outgoing {
  const head = Buffer.from(`--${EDGE}\r\nContent-Disposition: form-data; name="pack"; filename="p"\r\n\r\n`)
  const body = Buffer.concat([head, pack, Buffer.from(`\r\n--${EDGE}--\r\n`)])
  return {
    head: [
      'PUT /v1/domains/upload HTTP/1.1',
      `Content-Type: multipart/form-data; boundary=${EDGE}`,
      `Content-Length: ${body.length}`,
    ],
    body: [body],
  }
}

function inChunks(pack: Buffer): Outgoing {
  return {
    head: [
      'PUT /v1/domains/upload HTTP/1.1',
      'Content-Type: application/octet-stream',
      'Transfer-Encoding: chunked',
    ],
    body: chunks(pack, 65_536),
  }
}

function fixed(name: string, outgoing: Outgoing): Kind {
  return { name, make: () => outgoing }
}

function get(target: string): Outgoing {
  return { head: [`GET ${target} HTTP/1.1`] }
}

function put(domain: string, pack: Uint8Array): Outgoing {
  const head = ['Content-Type: application/octet-stream', `Content-Length: ${pack.length}`]
  return { head: [`PUT /v1/domains/${domain} HTTP/1.1`, ...head], body: [Buffer.from(pack)] }
}

function post(target: string, type: string, body: readonly Buffer[]): Outgoing {
  const length = body.reduce((sum, piece) => sum + piece.length, 0)
  return { head: [`POST ${target} HTTP/1.1`, `Content-Type: ${type}`, `Content-Length: ${length}`], body }
}

function chunked(target: string, type: string, body: readonly Buffer[]): Outgoing {
  return { head: [`POST ${target} HTTP/1.1`, `Content-Type: ${type}`, 'Transfer-Encoding: chunked'], body }
}

const END = Buffer.from('0\r\n\r\n')

/** HTTP chunks of so many bytes. */
function chunks(bytes: Buffer, size: number): Buffer[] {
  const count = Math.ceil(bytes.length / size)
  const pieces: Buffer[] = []
  for (let i = 0; i < count; i++) {
    const piece = bytes.subarray(i * size, (i + 1) * size)
    pieces.push(Buffer.from(`${piece.length.toString(16)}\r\n`), piece, Buffer.from('\r\n'))
  }
  return [Buffer.concat([...pieces, END])]
}

function tiny(count: number): Buffer[] {
  return [Buffer.from('1\r\nx\r\n'.repeat(count)), END]
}

function extended(): Buffer {
  return Buffer.from(`1;a=${'b'.repeat(15_000)}\r\nx\r\n`)
}

/** Header fields of a part, at the limits of their number and their bytes. */
function largeFields(): string {
  return Array.from({ length: 29 }, (_, index) => `X-${index}: ${'y'.repeat(250)}\r\n`).join('')
}
