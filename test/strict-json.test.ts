/** The strict JSON parser against the engine's own: the same texts are read, with the same values. */
import fc from 'fast-check'
import t from 'tap'
import {
  JsonText,
  type JsonValue,
  type ParseOptions,
  parseJson,
  parseJsonSteps,
  toPlain,
} from '../src/strict/json.js'
import { JsonError } from '../src/strict/json-error.js'

function native(text: string): unknown {
  try {
    return { value: JSON.parse(text) }
  } catch {
    return null
  }
}

function strict(text: string): unknown {
  try {
    return { value: toPlain(parseJson(text).value) }
  } catch (error) {
    if (!(error instanceof JsonError)) throw error
    return null
  }
}

t.test('strings: escapes, quotes, backslashes, control characters, in any order', (t) => {
  const piece = fc.constantFrom(
    '"',
    '\\',
    '\\"',
    '\\\\',
    '\\n',
    '\\u0041',
    '\\u00',
    '\\x',
    '\n',
    '\u0000',
    'a',
    'ж',
  )
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 12 }), (pieces) => {
      const text = `["${pieces.join('')}"]`
      return JSON.stringify(strict(text)) === JSON.stringify(native(text))
    }),
    { numRuns: 2000 },
  )
  t.end()
})

t.test('documents', (t) => {
  fc.assert(
    fc.property(fc.json({ stringUnit: 'binary', maxDepth: 8 }), (text) => {
      return JSON.stringify(strict(text)) === JSON.stringify(native(text))
    }),
  )
  t.end()
})

t.test('numbers', (t) => {
  const digits = fc.constantFrom('0', '1', '9', '12345678901234567', '.', '-', '+', 'e', 'E', '00', ' ', ',')
  fc.assert(
    fc.property(fc.array(digits, { maxLength: 8 }), (pieces) => {
      const text = `[${pieces.join('')}]`
      const { value } = (native(text) ?? {}) as { value?: number[] }
      const isTooLarge = value?.some((number) => !Number.isFinite(number))
      return JSON.stringify(strict(text)) === JSON.stringify(isTooLarge ? null : native(text))
    }),
    { numRuns: 3000 },
  )
  t.throws(() => parseJson('1'.repeat(2000)), { message: 'a number too long at byte 0' })
  t.end()
})

t.test('long strings are given as bytes, and mean the same', (t) => {
  const value = fc.string({ unit: 'binary', maxLength: 40 })
  fc.assert(
    fc.property(fc.array(value), fc.nat(30), (strings, textBytes) => {
      const text = JSON.stringify(strings).replaceAll('/', '\\/')
      const read = parseJson(Buffer.from(text), { textBytes }).value as (string | Uint8Array)[]
      const words = JSON.parse(text) as string[]
      return read.every((item, index) => {
        if (typeof item === 'string') return item === words[index]
        return Buffer.from(item).toString() === words[index]! && item.length <= 240
      })
    }),
  )
  const [short, long] = parseJson('["abc","abcd"]', { textBytes: 3 }).value as unknown[]
  t.equal(short, 'abc')
  t.same(long, Buffer.from('abcd'))
  t.end()
})

t.test('a text of any kind can be interrupted after a bounded piece of it', (t) => {
  const length = 1 << 20
  const texts = {
    values: `[${'0,'.repeat(length / 2)}0]`,
    blanks: `${' '.repeat(length)}0`,
    'a string': `"${'x'.repeat(length)}"`,
    escapes: `"${'\\"'.repeat(length / 2)}"`,
    'an end that is missing': `"${'\\\\'.repeat(length / 2)}`,
  }
  for (const [name, text] of Object.entries(texts)) {
    let steps = 0
    try {
      for (const _ of parseJsonSteps(text)) steps++
    } catch (error) {
      t.ok(error instanceof JsonError)
    }
    t.ok(steps >= length / (1 << 16) - 1, `${name}: ${steps}`)
  }
  t.end()
})

t.test('an error names the position, and the limit where there is one', (t) => {
  const errorOf = (text: string, limits: ParseOptions = {}) => {
    try {
      parseJson(text, limits)
    } catch (error) {
      return error as JsonError
    }
    throw new Error('was read')
  }
  t.match(errorOf('["a", "b\u0001"]'), {
    message: 'a control character in a string at byte 8',
    limit: null,
  })
  t.match(errorOf('["a", "b\\"]'), { message: 'a string without an end at byte 6', limit: null })
  t.match(errorOf('["a", "\\q"]'), { message: 'a bad escape in the string at byte 6', limit: null })
  t.match(errorOf('["\\ud800"]'), { message: /half a surrogate pair/, limit: null })
  t.match(errorOf('[[0]]', { maxDepth: 1 }), {
    message: 'more than 1 levels of nesting at byte 1',
    limit: 'depth',
  })
  t.match(errorOf('[0,1,2]', { maxValues: 3 }), { message: 'more than 3 values at byte 5', limit: 'values' })
  t.end()
})

t.test('arrays under one key are passed over, and their end is found', async (t) => {
  const texts = [
    '[1, [2, 3], "]"]',
    String.raw`["\\", "\"]", [[]]]`,
    '[]',
    `[${'0.25, '.repeat(40_000)}1]`,
    '[this is for its reader to refuse]',
  ]
  for (const text of texts) {
    const { value } = parseJson(`{"a": [1], "data" : ${text}, "b": [{"data": 7}]}`, { passOver: 'data' })
    const data = (value as Map<string, JsonValue>).get('data')
    t.ok(data instanceof JsonText && Buffer.from(data.bytes).toString() === text, text.slice(0, 40))
    const rest = toPlain(value) as { a: unknown; b: unknown }
    t.strictSame([rest.a, rest.b], [[1], [{ data: 7 }]])
  }
  const refused = (text: string, limit: JsonError['limit'] = null) =>
    t.throws(() => parseJson(text, { passOver: 'data', maxDepth: 3 }), { name: 'JsonError', limit }, text)
  refused('{"data": [1, 2')
  refused('{"data": ["1, 2]}')
  refused('{"data": [1]]}')
  refused('{"data": [[[1]]]}', 'depth')
  refused('{"data": "[1]", "data": [1], "data"}')
})
