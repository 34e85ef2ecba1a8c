/** What the reader of forms makes of a body, part by part, and in which steps. */
import fastify, { type FastifyRequest } from 'fastify'
import t, { type Test } from 'tap'
import { finish, type Steps } from '../src/concurrency/turns.js'
import { clientClosed, FacetError } from '../src/errors.js'
import { STRETCH } from '../src/http/bodies/boundaries.js'
import { type FormPart, prepareForms, readForm } from '../src/http/bodies/multipart.js'

type InTurn = (steps: Steps<void>) => Promise<void>

/** Reads a body with the boundary `X1`. */
async function read(t: Test, body: Buffer, inTurn: InTurn = async (steps) => finish(steps)) {
  const app = fastify()
  t.teardown(() => app.close())
  await prepareForms(app)
  let parts: FormPart[] = []
  let failure: unknown
  app.addContentTypeParser('*', async (request: FastifyRequest) => {
    request.body = body
    const tooMany = () => new FacetError('too_many_parts', 'There are more than four.')
    try {
      parts = await readForm(request, 4, tooMany, inTurn)
    } catch (error) {
      failure = error
    }
  })
  app.post('/', async () => '')
  const headers = { 'content-type': 'multipart/form-data; boundary=X1' }
  await app.inject({ method: 'POST', url: '/', headers, payload: 'x' })
  return { parts, failure }
}

/** A body of parts with these heads and contents. */
const form = (...parts: [fields: string, content: Buffer | string][]) =>
  Buffer.concat([
    ...parts.flatMap(([fields, content]) => [
      Buffer.from(`--X1\r\nContent-Disposition: form-data${fields}\r\n\r\n`),
      Buffer.from(content),
      Buffer.from('\r\n'),
    ]),
    Buffer.from('--X1--\r\n'),
  ])

t.test('content that is full of near-boundaries comes whole, in steps, and shares the body', async (t) => {
  for (const unit of ['\r\n--X', '\r\n--', '\r\n', '\r', 'x--X1', 'x']) {
    const content = Buffer.alloc(3 * STRETCH + 7, unit)
    const body = form(['; name="a"; filename="a"', content], ['; name="b"', ''], ['; name="c"', '\r\n\r\n'])
    let count = 0
    const { parts } = await read(t, body, async (steps) => {
      while (!steps.next().done) count++
    })
    t.same(
      parts.map(({ name, file }) => [name, file]),
      [
        ['a', true],
        ['b', false],
        ['c', false],
      ],
      JSON.stringify(unit),
    )
    t.ok(parts[0]!.bytes.equals(content), 'every byte')
    t.equal(parts[1]!.bytes.length, 0)
    t.equal(parts[2]!.bytes.toString(), '\r\n\r\n')
    for (const { bytes } of parts) t.equal(bytes.buffer, body.buffer, 'no copy')
    t.ok(count >= 2 * 4, `a long part is searched and read in steps: ${count}`)
  }
})

t.test('names are those that the client gave, letter by letter', async (t) => {
  const names = [
    ...Object.getOwnPropertyNames(Object.prototype),
    'a; name=constructor; b',
    '\x01constructor',
    'Constructor',
    'constructors',
    'é',
    "utf-8''a",
    '%41',
    '',
  ]
  for (const name of names)
    for (const fields of [
      `; name="${name}"`,
      `;\r\n filename="x; name=toString"; name="${name}"`,
      `; NAME = "${name}" ;x=constructor`,
    ]) {
      const { parts } = await read(t, form([fields, 'one'], ['; name=valueOf', 'two']))
      t.same(
        parts.map(({ name, bytes }) => [name, bytes.toString()]),
        [
          [name, 'one'],
          ['valueOf', 'two'],
        ],
        fields,
      )
    }
})

t.test('what the library is lax about is refused with the index of its part', async (t) => {
  const cases: [fields: string, message: RegExp][] = [
    ['; name="a"; name="b"', /gives "name" twice/],
    ['; name="a"; NAME=b', /gives "name" twice/],
    ['; name="a"; name*=utf-8\'\'b', /name\* is not read/],
    ['; name="a"\r\nContent-Disposition: form-data; name="b"', /gives "Content-Disposition" twice/],
    ['; name="a"b', /malformed at "name=\\"\\"b"/],
    ['; name=a b', /malformed at "name=a b"/],
    ['; name', /malformed at "name"/],
    [' x; name=a', /malformed at "form-data x"/],
    ['; name="a"\r\nno colon', /"no colon" in its header is no field/],
    ['; name="a"\r\nX: a\nb', /"X: a\\nb" in its header is no field/],
    ['; name="a"\r\nContent-Transfer-Encoding: Quoted-Printable', /"quoted-printable", which is not read/],
    [`; name="a"\r\n${'X: y\r\n'.repeat(32)}Y: z`, /more than 32 fields/],
    [`; name="a"\r\nX: ${'y'.repeat(8192)}`, /no end within 8192 bytes/],
  ]
  for (const [fields, message] of cases) {
    const { failure } = await read(
      t,
      form(['; name="sound"', 'one'], [fields, 'two'], ['; name="c"', 'three']),
    )
    t.match(failure, { code: 'malformed_request', index: 1, message }, fields.slice(0, 60))
  }
})

t.test('work that is given up ends the reading with its error', async (t) => {
  const body = form(['; name="a"', Buffer.alloc(STRETCH)], ['; name="b"', 'two'])
  for (const stop of [0, 1, 3]) {
    const { failure } = await read(t, body, async (steps) => {
      for (let done = 0; done < stop; done++) steps.next()
      steps.return(undefined)
      throw clientClosed()
    })
    t.match(failure, { code: 'client_closed' })
  }
})
