/** The strict JSON parser against the engine's own: the same texts are read, with the same values. */
import fc from 'fast-check'
import t from 'tap'
import { JsonError, parseJson, toPlain } from '../src/strict/json.js'

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

t.test('an error names the position, and the limit where there is one', (t) => {
  const errorOf = (text: string, ...limits: [number?, number?]) => {
    try {
      parseJson(text, ...limits)
    } catch (error) {
      return error as JsonError
    }
    throw new Error('was read')
  }
  t.match(errorOf('["a", "b\u0001"]'), {
    message: 'a control character in a string at character 8',
    limit: null,
  })
  t.match(errorOf('["a", "b\\"]'), { message: 'a string without an end at character 6', limit: null })
  t.match(errorOf('["a", "\\q"]'), { message: 'a bad escape in the string at character 6', limit: null })
  t.match(errorOf('["\\ud800"]'), { message: /half a surrogate pair/, limit: null })
  t.match(errorOf('[[0]]', 1), { message: 'more than 1 levels of nesting at character 1', limit: 'depth' })
  t.match(errorOf('[0,1,2]', 16, 3), { message: 'more than 3 values at character 5', limit: 'values' })
  t.end()
})
