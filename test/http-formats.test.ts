/** Bodies as clients write them: every spelling that the standards allow is read, everything else is refused with a reason. */
import type { InjectOptions } from 'fastify'
import t from 'tap'
import { image, multipart, pack, testApp } from './http-app.js'

const path = '/v1/domains/colours/predict'

t.test('base64: padded or not, in either alphabet, in lines, as a data: URL', async (t) => {
  const { app } = await testApp(t)
  const bytes = Buffer.concat([image(), Buffer.from(Array.from({ length: 200 }, (_, i) => 255 - i))])
  const plain = bytes.toString('base64')
  t.match(plain, /[+/].*=$/s, 'the text has a digit that the alphabets differ in, and padding')
  const lines = plain.replace(/.{76}/g, '$&\r\n')
  const spellings = {
    plain,
    'no padding': plain.replace(/=+$/, ''),
    'URL alphabet': bytes.toString('base64url'),
    'URL alphabet, padded': plain.replaceAll('+', '-').replaceAll('/', '_'),
    lines,
    'lines, the last one ended': `${lines}\r\n`,
    'padding on a line of its own': plain.replace(/=+$/, '\r\n$&\r\n'),
    'data: URL': `data:image/jpeg;base64,${plain}`,
    'data: URL with parameters': `DATA:image/jpeg;name=a.jpg;charset=utf-8;base64,${lines}`,
    'data: URL without a type': `data:;base64,${plain}`,
  }
  const send = async (images: string[]) =>
    (await app.inject({ method: 'POST', url: path, payload: { images } })).json()
  const expected = await send([plain])
  t.ok(expected.results)
  for (const [what, text] of Object.entries(spellings)) t.same(await send([text]), expected, what)
})

t.test('base64: what it is not is told by its first wrong character', async (t) => {
  const { app } = await testApp(t)
  const cases: [string, RegExp][] = [
    ['SU1H*AAA', /not base64: "\*" at character 5/],
    ['data:image/png;base64,SU1HA!AA', /"!" at character 28/],
    ['SU1H\r\nSU😀1H', /"😀" at character 9/],
    ['SU1H\u00a0SU1H', /"\u00a0" at character 5/],
    ['SQ==SQ==', /"=" at character 3/],
    ['SU1HAA===', /"=" at character 7/],
    ['SU1HA', /5 digits, one more than a multiple of 4/],
    ['SU1H\nA', /5 digits/],
    ['data:image/png,%89PNG', /data: URL without ";base64,"/],
    ['https://example.org/a.png', /":" at character 6/],
    [`SU1H${'='.repeat(100_000)}`, /"=" at character 5/],
  ]
  for (const [text, detail] of cases) {
    const payload = { images: ['SU1HAAAA', text].map((each) => each.slice(0, 3000)) }
    const answer = await app.inject({ method: 'POST', url: path, payload })
    t.match(answer.json(), { status: 400, code: 'malformed_request', index: 1, detail }, text.slice(0, 40))
  }
})

/** A body of two parts, written by hand. */
function form(write: (part: (name: string) => string) => string): InjectOptions {
  const payload = write((name) => `Content-Disposition: form-data; name="${name}"\r\n\r\nIMG\x01\r\n`)
  const headers = { 'content-type': 'multipart/form-data; boundary=X' }
  return { method: 'POST', url: path, headers, payload: Buffer.from(payload) }
}

t.test('multipart: as RFC 2046 allows it', async (t) => {
  const { app } = await testApp(t)
  const cases: Record<string, InjectOptions> = {
    plain: form((part) => `--X\r\n${part('a')}--X\r\n${part('b')}--X--\r\n`),
    'white space behind boundaries': form((part) => `--X  \t\r\n${part('a')}--X \r\n${part('b')}--X--  \r\n`),
    'text before and behind': form(
      (part) => `A preamble --X.\r\n--X\r\n${part('a')}--X\r\n${part('b')}--X--\r\nThe end.\r\n--X\r\n`,
    ),
    'an empty line before': form((part) => `\r\n--X\r\n${part('a')}--X\r\n${part('b')}--X--`),
    'a folded field': form((part) =>
      `--X\r\n${part('a')}--X\r\n${part('b')}--X--`.replaceAll('form-data;', 'form-data;\r\n\t'),
    ),
    'names of the prototype': form((part) => `--X\r\n${part('constructor')}--X\r\n${part('toString')}--X--`),
    'escapes and other parameters': form(
      (part) =>
        `--X\r\n${part('a\\"b').replace('; name', '; filename="C:\\\\x;y.png" ; name')}--X\r\n${part('b')}--X--`,
    ),
    'no quotes, odd case': form((part) =>
      `--X\r\n${part('a')}--X\r\n${part('b')}--X--`.replaceAll(
        'Content-Disposition: form-data; name="a"',
        'content-DISPOSITION:Form-Data;NAME=a',
      ),
    ),
  }
  for (const [what, request] of Object.entries(cases)) {
    const answer = await app.inject(request)
    t.equal(answer.json().results?.length, 2, `${what}: ${answer.body.slice(0, 200)}`)
  }
})

t.test("multipart: a domain named 'constructor' can be the name of a part", async (t) => {
  const { app, domains } = await testApp(t)
  await domains.put('constructor', pack(['a', 'b']), { activate: true })
  const parts = ['constructor', 'colours'].map((name) => ({ name, bytes: image(1) }))
  const answer = await app.inject({ method: 'POST', url: '/v1/predict', ...multipart(parts) })
  t.match(answer.json().results, [{ domain: 'constructor' }, { domain: 'colours' }])
})

t.test('multipart: what is not is refused with its reason', async (t) => {
  const { app } = await testApp(t)
  const cases: [string, InjectOptions, RegExp, number?][] = [
    ['another boundary', form((part) => `--Y\r\n${part('a')}--Y--`), /boundary that Content-Type names/],
    [
      'text behind a boundary',
      form((part) => `--X\r\n${part('a')}--Xy\r\n${part('b')}--X--`),
      /end of its line/,
      1,
    ],
    ['no end', form((part) => `--X\r\n${part('a')}--X\r\n${part('b')}`), /half-way/, 1],
    ['cut in a boundary', form((part) => `--X\r\n${part('a')}--X`), /half-way/, 1],
    [
      'a header without end',
      form(() => '--X\r\nContent-Disposition: form-data; name="a"\r\n--X--'),
      /no end/,
      0,
    ],
    [
      'a long header',
      form((part) => `--X\r\nX: ${'y'.repeat(9000)}\r\n${part('a')}--X--`),
      /within 8192 bytes/,
      0,
    ],
    [
      'many fields',
      form((part) => `--X\r\n${'X: y\r\n'.repeat(32)}${part('a')}--X--`),
      /more than 32 fields/,
      0,
    ],
  ]
  const big = await testApp(t, { config: { maxBody: 20_000 } })
  for (const [what, request, detail, index] of cases) {
    const answer = (await big.app.inject(request)).json()
    t.match(answer, { status: 400, code: 'malformed_request', detail }, what)
    t.equal(answer.index, index, what)
  }
  t.equal((await app.inject(form((part) => `--X\r\n${part('a')}--X--`))).statusCode, 200)
})

t.test('multipart: a boundary is named once, and may have 200 characters', async (t) => {
  const { app } = await testApp(t)
  const send = (boundary: string, parameters: string) =>
    app.inject({
      method: 'POST',
      url: path,
      headers: { 'content-type': `multipart/form-data; ${parameters}` },
      payload: Buffer.from(
        `--${boundary}\r\nContent-Disposition: form-data; name="a"\r\n\r\nIMG\x01\r\n--${boundary}--\r\n`,
      ),
    })
  const taken = ['boundary="b;c"', 'x="; boundary=y"; BOUNDARY="b;c"', 'boundary="b;c"; charset=utf-8']
  for (const parameters of taken) t.equal((await send('b;c', parameters)).statusCode, 200, parameters)
  const long = 'y'.repeat(200)
  t.equal((await send(long, `boundary=${long}`)).statusCode, 200)
  const refused: [parameters: string, detail: RegExp][] = [
    ['boundary=X; boundary=Y', /names more than one boundary/],
    ['boundary=X; Boundary=X', /names more than one boundary/],
    [`boundary=${long}y`, /a boundary of 201 characters; 200 are the most/],
    ['charset=utf-8', /names no boundary/],
    ['boundary=', /names no boundary/],
    ['boundary="X "', /space at its end/],
  ]
  for (const [parameters, detail] of refused)
    t.match(
      (await send('X', parameters)).json(),
      { status: 400, code: 'malformed_request', detail },
      parameters,
    )
})

t.test('multipart: a compressed part is refused, and not taken for an image', async (t) => {
  const { app } = await testApp(t)
  const parts = (encoding: string) =>
    form((part) => `--X\r\n${part('a')}--X\r\nContent-Encoding: ${encoding}\r\n${part('b')}--X--`)
  t.equal((await app.inject(parts('Identity'))).statusCode, 200)
  t.match((await app.inject(parts('gzip'))).json(), {
    status: 415,
    code: 'unsupported_media_type',
    index: 1,
    detail: /part is compressed.*leave out Content-Encoding "gzip"/,
  })
})

t.test('JSON: a byte order mark is named', async (t) => {
  const { app } = await testApp(t)
  const headers = { 'content-type': 'application/json' }
  const answer = await app.inject({ method: 'POST', url: path, headers, payload: '\ufeff{"images":[]}' })
  t.match(answer.json(), { status: 400, detail: /byte order mark.*without BOM.*byte 0/ })
})

t.test('a Content-Type that names no type is told so', async (t) => {
  const { app } = await testApp(t)
  for (const type of ['', ' ', ';;;']) {
    const answer = await app.inject({
      method: 'POST',
      url: path,
      headers: { 'content-type': type },
      payload: image(1),
    })
    t.match(answer.json(), { status: 415, detail: /names no type.*image\/\*/ }, JSON.stringify(type))
  }
})

t.test('a body without Content-Type says itself what it is', async (t) => {
  const { app } = await testApp(t)
  // `inject` adds no type to bytes.
  const predict = await app.inject({ method: 'POST', url: path, payload: image(1) })
  t.equal(predict.statusCode, 200)
  t.equal((await app.inject({ method: 'PUT', url: '/v1/domains/new', payload: pack(['a']) })).statusCode, 201)
  const json = await app.inject({ method: 'PATCH', url: '/v1/domains/new', payload: Buffer.from('{}') })
  t.match(json.json(), { status: 415, detail: /no Content-Type.*application\/json/ })
  const curl = { 'content-type': 'application/x-www-form-urlencoded' }
  const answer = await app.inject({ method: 'POST', url: path, headers: curl, payload: image(1) })
  t.match(answer.json(), { status: 415, detail: /curl sends this type/ })
})

t.test('Content-Type without a body means nothing', async (t) => {
  const { app, domains } = await testApp(t)
  for (const type of ['application/json', 'image/png', 'nonsense']) {
    await domains.put('gone', pack(['a']), { activate: true })
    const request = { method: 'DELETE', url: '/v1/domains/gone', headers: { 'content-type': type } } as const
    t.equal((await app.inject(request)).statusCode, 204, type)
  }
  const get = { method: 'GET', url: '/v1/domains/colours', headers: { 'content-type': 'nonsense' } } as const
  t.equal((await app.inject(get)).statusCode, 200)
  const empty = { method: 'POST', url: path, headers: { 'content-type': 'application/json' } } as const
  t.match((await app.inject(empty)).json(), { status: 400, code: 'empty_body' })
})

t.test('the body of a request that takes none is not looked at', async (t) => {
  const { app, domains } = await testApp(t)
  for (const type of ['application/json', 'text/plain']) {
    await domains.put('gone', pack(['a']), { activate: true })
    const headers = { 'content-type': type }
    const answer = await app.inject({ method: 'DELETE', url: '/v1/domains/gone', headers, payload: '{' })
    t.equal(answer.statusCode, 204, type)
  }
})
