/** Text that a client made up: wherever people read it, it steers no terminal and reorders no line. */
import t from 'tap'
import { checkDomainId } from '../src/domain-id.js'
import { unknownDomain } from '../src/errors.js'
import { checkVersion } from '../src/http/exchange/parameters.js'
import { printable, printableJson, quoted } from '../src/shown-text.js'
import { quote } from '../src/strict/problems.js'
import { image, testApp } from './http-app.js'

/** C0, DEL, C1, all bidirectional controls, separators of lines and paragraphs. */
const UNSAFE = [
  ...range(0x00, 0x1f),
  ...range(0x7f, 0x9f),
  0x061c,
  0x200e,
  0x200f,
  ...range(0x202a, 0x202e),
  ...range(0x2066, 0x2069),
  0x2028,
  0x2029,
].map((code) => String.fromCodePoint(code))

function range(first: number, last: number): number[] {
  return Array.from({ length: last - first + 1 }, (_, index) => first + index)
}

/** Whether nothing in the text steers a terminal or reorders it. */
function isSafe(text: string): boolean {
  return !UNSAFE.some((character) => text.includes(character))
}

t.test('every such character is replaced, or escaped as JSON does', async (t) => {
  for (const character of UNSAFE) {
    const code = character.codePointAt(0)!.toString(16).padStart(4, '0')
    const text = `a${character}b`
    t.equal(printable(text), 'a\ufffdb', code)
    for (const escaped of [quoted(text), printableJson(JSON.stringify(text))]) {
      t.ok(isSafe(escaped), code)
      t.equal(JSON.parse(escaped), text, `${code}: the same JSON`)
    }
  }
  t.equal(quoted('\u009b2J\u202eevil'), String.raw`"\u009b2J\u202eevil"`)
})

t.test('what people write stays as it is', async (t) => {
  const text = 'Grüße, 犬, עברית, 👩‍🔬 «»'
  t.equal(printable(text), text)
  t.equal(quoted(text), `"${text}"`)
})

t.test('a long text is cut', async (t) => {
  t.equal(quoted('x'.repeat(81)), `"${'x'.repeat(80)}…"`)
  t.equal(quoted('xyz', 2), '"xy…"')
})

t.test('messages show the text of a client that way', async (t) => {
  const text = UNSAFE.join('')
  const messages = [quote(text), quote([text]), unknownDomain(text).message]
  for (const check of [checkDomainId, checkVersion])
    try {
      check(text)
    } catch (error) {
      messages.push((error as Error).message)
    }
  t.equal(messages.length, 5)
  for (const message of messages) t.ok(isSafe(message), message)
})

t.test('so do answers, wherever the text was', async (t) => {
  const { app, logs } = await testApp(t, {})
  const text = '\u009b2J\u202eevil'
  const encoded = encodeURIComponent(text)
  const latin = '\u009b2J'
  const post = { method: 'POST', url: '/v1/domains/colours/predict' } as const
  const json = { 'content-type': 'application/json' }
  const form = { 'content-type': 'multipart/form-data; boundary=BB' }
  const part = (head: string) => `--BB\r\n${head}\r\n\r\nx\r\n--BB--\r\n`
  const answers = [
    await app.inject({ method: 'PUT', url: `/v1/domains/${encoded}`, payload: 'x' }),
    await app.inject({ url: `/v1/domains?${encoded}=1` }),
    await app.inject({ url: `/v1/domains?limit=${encoded}` }),
    await app.inject({ ...post, headers: { 'content-type': `text/${latin}` }, payload: image(1) }),
    await app.inject({ ...post, headers: { 'content-encoding': latin }, payload: image(1) }),
    await app.inject({ ...post, headers: json, payload: text }),
    await app.inject({ ...post, headers: json, payload: `{"images":["${text}"]}` }),
    await app.inject({ ...post, headers: json, payload: `{"${text}":1,"${text}":2}` }),
    await app.inject({ ...post, headers: form, payload: part(text) }),
    await app.inject({ ...post, headers: form, payload: part(`Content-Disposition: ${text}; name=x`) }),
  ]
  for (const answer of answers) {
    t.ok([400, 415, 422].includes(answer.statusCode), `${answer.statusCode}`)
    t.ok(isSafe(answer.json().detail), JSON.stringify(answer.json().detail))
  }
  t.equal(logs.find(({ msg }) => msg === 'audit')?.domain, text, 'the log keeps what was asked for')
})
