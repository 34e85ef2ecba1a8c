/** The safetensors reader and writer: a list of attacks, and the round trip. */
import fc from 'fast-check'
import t from 'tap'
import {
  readSafetensors,
  SafetensorsError,
  type Tensor,
  writeSafetensors,
} from '../src/safetensors/safetensors.js'
import { openFile, rawFile } from './raw-safetensors.js'

function problemsOf(
  bytes: Uint8Array,
  limits?: { headerBytes?: number; headerValues?: number },
): readonly string[] {
  try {
    readSafetensors(bytes, limits)
  } catch (error) {
    if (error instanceof SafetensorsError) return error.problems
    throw error
  }
  return []
}

/** One or more tensors as a header; entries are `[name, dtype, shape, offsets]`. */
function header(...entries: [string, unknown, unknown, unknown][]): string {
  const fields = entries.map(
    ([name, dtype, shape, data_offsets]) =>
      `${JSON.stringify(name)}:${JSON.stringify({ dtype, shape, data_offsets })}`,
  )
  return `{${fields.join(',')}}`
}

const f32 = (name: string, elements: number, begin: number): [string, string, number[], number[]] => [
  name,
  'F32',
  [elements],
  [begin, begin + 4 * elements],
]

t.test('reads what the Python library writes', async (t) => {
  // safetensors.numpy.save({"b": float32 [[1, 2]], "a": float16 [0.5]}, {"k": "v"})
  const text =
    '{"__metadata__":{"k":"v"},"b":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]},"a":{"dtype":"F16","shape":[1],"data_offsets":[8,10]}}'
  const data = new Uint8Array([0, 0, 0x80, 0x3f, 0, 0, 0, 0x40, 0, 0x38])
  const { metadata, tensors } = readSafetensors(rawFile(text.padEnd(Math.ceil(text.length / 8) * 8), data))
  t.same({ ...metadata }, { k: 'v' })
  t.same([...tensors.keys()], ['b', 'a'])
  t.same(tensors.get('b'), { dtype: 'F32', shape: [1, 2], bytes: data.subarray(0, 8) })
  t.same(tensors.get('a'), { dtype: 'F16', shape: [1], bytes: data.subarray(8) })
})

t.test('one attack, one problem that names it', async (t) => {
  const attacks: [string, Uint8Array, RegExp][] = [
    ['an empty file', new Uint8Array(0), /^the file has 0 bytes/],
    ['a file shorter than the length', new Uint8Array(7), /^the file has 7 bytes/],
    ['a header beyond the limit', rawFile('{}', 0, 1n << 40n), /header is 1099511627776 bytes long.*limit/],
    [
      'the largest header length',
      rawFile('{}', 0, (1n << 64n) - 1n),
      /18446744073709551615 bytes long.*limit/,
    ],
    ['a header beyond the file', rawFile('{}', 0, 100n), /header is 100 bytes long.*truncated/],
    ['no header at all', rawFile(''), /must start with "{"/],
    ['a header that is an array', rawFile('[]'), /must start with "{"/],
    ['space before the header', rawFile(' {}'), /must start with "{"/],
    ['a byte order mark', rawFile('\ufeff{}'), /must start with "{"/],
    ['invalid UTF-8', rawFile(new Uint8Array([0x7b, 0xff, 0x7d])), /not valid UTF-8/],
    ['broken JSON', rawFile('{"a":'), /not JSON: expected a value, found the end at byte 5/],
    ['a second document', rawFile('{}{}'), /not JSON: expected the end/],
    ['nesting without end', rawFile(`{"a":${'['.repeat(5000)}`), /more than 16 levels of nesting/],
    ['a lone surrogate', rawFile('{"\\ud800":{}}'), /half a surrogate pair/],
    ['a number beyond all', rawFile('{"a":1e999}'), /a number too large/],
    ['metadata that is no object', rawFile('{"__metadata__":[]}'), /__metadata__ must be an object/],
    [
      'metadata that is no string',
      rawFile('{"__metadata__":{"a":1}}'),
      /__metadata__\."a" must be a string, not 1/,
    ],
    ['a key given twice', rawFile('{"__metadata__":{"a":"1","a":"2"}}'), /key "\$\.__metadata__\.a" twice/],
    [
      'an escaped key given twice',
      rawFile('{"__metadata__":{"a":"1","\\u0061":"2"}}'),
      /"\$\.__metadata__\.a" twice/,
    ],
    ['a tensor that is no object', rawFile('{"a":7}'), /tensor "a" must be an object, not 7/],
    ['__proto__ as a tensor', rawFile('{"__proto__":7}'), /tensor "__proto__" must be an object/],
    ['a missing field', rawFile('{"a":{"dtype":"F32","shape":[0]}}'), /tensor "a" has no data_offsets/],
    [
      'a field too many',
      rawFile('{"a":{"dtype":"F32","shape":[0],"data_offsets":[0,0],"x":1}}'),
      /unknown field "x"/,
    ],
    ['an unknown dtype', rawFile(header(['a', 'F24', [0], [0, 0]])), /unknown dtype "F24"/],
    ['a dtype of Object', rawFile(header(['a', 'constructor', [0], [0, 0]])), /unknown dtype "constructor"/],
    ['a negative dimension', rawFile(header(['a', 'F32', [-1], [0, 4]]), 4), /shape must be .*not \[-1\]/],
    [
      'a fractional dimension',
      rawFile(header(['a', 'F32', [0.5], [0, 2]]), 2),
      /shape must be .*not \[0\.5\]/,
    ],
    ['a shape that is no list', rawFile(header(['a', 'F32', 1, [0, 4]]), 4), /shape must be .*not 1/],
    [
      'nine dimensions',
      rawFile(header(['a', 'F32', Array(9).fill(1), [0, 4]]), 4),
      /9 dimensions, more than 8/,
    ],
    [
      'a shape beyond 2^53',
      rawFile(header(['a', 'F32', [2 ** 30, 2 ** 30], [0, 4]]), 4),
      /does not fit 2\^53/,
    ],
    [
      'a product hidden behind a zero',
      rawFile(header(['a', 'F32', [2 ** 52, 2 ** 52, 0], [0, 0]])),
      /does not fit 2\^53/,
    ],
    [
      'a size that does not fit',
      rawFile(header(['a', 'F32', [3], [0, 8]]), 8),
      /shape \[3\] of F32 takes 12 bytes.*give 8/,
    ],
    ['an offset beyond 2^53', rawFile(header(['a', 'U8', [1], [2 ** 53, 2 ** 53 + 2]])), /below 2\^53/],
    [
      'a negative offset',
      rawFile(header(['a', 'U8', [1], [-1, 0]])),
      /data_offsets must be two whole numbers/,
    ],
    [
      'a fractional offset',
      rawFile(header(['a', 'U8', [1], [0, 0.5]])),
      /data_offsets must be two whole numbers/,
    ],
    ['three offsets', rawFile(header(['a', 'U8', [1], [0, 1, 2]])), /data_offsets must be two whole numbers/],
    ['an end before its begin', rawFile(header(['a', 'U8', [1], [1, 0]]), 1), /end before they begin/],
    [
      'offsets beyond the data',
      rawFile(header(f32('a', 4, 0)), 15),
      /tensor "a".*out of range.*15 bytes.*truncated/,
    ],
    ['trailing bytes', rawFile(header(f32('a', 1, 0)), 5), /^1 trailing bytes after the last tensor$/],
    ['data without tensors', rawFile('{}', 3), /^3 trailing bytes/],
    ['a hole', rawFile(header(f32('a', 1, 0), f32('b', 1, 8)), 12), /^a hole of 4 bytes before tensor "b"$/],
    ['a hole at the start', rawFile(header(f32('a', 1, 4)), 8), /^a hole of 4 bytes before tensor "a"$/],
    [
      'overlapping tensors',
      rawFile(header(f32('a', 2, 0), f32('b', 2, 4)), 12),
      /^tensors "a" and "b" overlap in bytes 4 to 8$/,
    ],
    [
      'the same bytes twice',
      rawFile(header(f32('a', 1, 0), f32('b', 1, 0)), 4),
      /^tensors "a" and "b" overlap/,
    ],
    ['an unordered header', rawFile(header(f32('b', 1, 4), f32('a', 1, 0)), 8), /^tensor "a" is unordered/],
  ]
  for (const [what, bytes, expected] of attacks) {
    const problems = problemsOf(bytes)
    t.equal(problems.length, 1, `${what}: one problem`)
    t.match(problems[0], expected, what)
  }
})

t.test('an unaligned tensor is named', async (t) => {
  const text = header(['a', 'U8', [1], [0, 1]], ['b', 'F32', [1], [1, 5]])
  t.match(problemsOf(rawFile(text, 5)), [/tensor "b": offset 1 is not aligned to the 4 bytes of F32/])
})

t.test('all problems are listed at once', async (t) => {
  const text = `{"__metadata__":{"n":1},"a":{"dtype":"F99","shape":[-1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[9],"data_offsets":[0,4]},"c":5}`
  const problems = problemsOf(rawFile(text, 4))
  for (const expected of [
    /__metadata__\."n"/,
    /"a".*dtype "F99"/,
    /"a": shape/,
    /"b": shape \[9\]/,
    /"c" must be/,
  ]) {
    t.ok(
      problems.some((problem) => expected.test(problem)),
      String(expected),
    )
  }
})

t.test('the problems of a hostile header are bounded', async (t) => {
  const many = `{${Array.from({ length: 10000 }, (_, i) => `"t${i}":1`).join(',')}}`
  const problems = problemsOf(rawFile(many))
  t.equal(problems.length, 101)
  t.equal(problems[100], 'and 9900 more problems')

  const long = 'k'.repeat(400_000)
  const twice = `{"${long}":{${Array.from({ length: 50_000 }, () => '"a":1').join(',')}}}`
  const size = problemsOf(rawFile(twice)).reduce((sum, problem) => sum + problem.length, 0)
  t.ok(size < 50_000, `${size} characters`)
})

t.test('control characters of a name do not reach a message', async (t) => {
  const [problem] = problemsOf(rawFile('{"\\u001b[2J\\n\u009b\u202e":1}'))
  t.equal(problem, 'tensor "\\u001b[2J\\n\\u009b\\u202e" must be an object, not 1')
})

t.test('the header limit can be chosen', async (t) => {
  const bytes = writeSafetensors(new Map([['a', { dtype: 'U8', shape: [1], bytes: new Uint8Array(1) }]]))
  t.match(problemsOf(bytes, { headerBytes: 16 }), [/more than the limit of 16/])
  t.same(problemsOf(bytes, { headerBytes: 64 }), [])
})

t.test('writing is deterministic, aligned and ordered', async (t) => {
  const tensors: [string, Tensor][] = [
    ['odd', { dtype: 'F16', shape: [1], bytes: new Uint8Array(2) }],
    ['z', { dtype: 'F32', shape: [1], bytes: new Uint8Array(4) }],
    ['a', { dtype: 'F32', shape: [2], bytes: new Uint8Array(8) }],
  ]
  const one = writeSafetensors(new Map(tensors), { b: '2', a: '1' })
  const other = writeSafetensors(new Map([...tensors].reverse()), { a: '1', b: '2' })
  t.same(one, other)
  t.same([...readSafetensors(one).tensors.keys()], ['a', 'z', 'odd'])
  const { header: text } = openFile(one)
  t.equal(text.length % 8, 0, 'padded header')
  t.match(text, /^\{"__metadata__":\{"a":"1","b":"2"\}.*\} *$/)
})

t.test('the writer refuses what it cannot write, all at once', async (t) => {
  const broken = new Map<string, Tensor>([
    ['__metadata__', { dtype: 'U8', shape: [1], bytes: new Uint8Array(1) }],
    ['short', { dtype: 'F32', shape: [2], bytes: new Uint8Array(4) }],
    ['odd', { dtype: 'F7', shape: [1], bytes: new Uint8Array(1) }],
    ['half\ud800', { dtype: 'U8', shape: [0], bytes: new Uint8Array(0) }],
  ])
  try {
    writeSafetensors(broken, { bad: '\udc00' })
    t.fail('must throw')
  } catch (error) {
    t.ok(error instanceof SafetensorsError)
    const all = (error as SafetensorsError).problems.join('\n')
    for (const name of [/named __metadata__/, /"short"/, /F7/, /surrogate/, /__metadata__\."bad"/])
      t.match(all, name)
  }
})

const sizes = { U8: 1, F16: 2, F32: 4, F64: 8 } as const
const tensor = fc
  .record({
    dtype: fc.constantFrom('U8', 'F16', 'F32', 'F64' as const),
    shape: fc.array(fc.nat(5), { maxLength: 4 }),
    seed: fc.nat(255),
  })
  .map(({ dtype, shape, seed }): Tensor => {
    const length = shape.reduce((product, size) => product * size, 1) * sizes[dtype as keyof typeof sizes]
    return { dtype, shape, bytes: new Uint8Array(length).map((_, i) => (i * 7 + seed) & 255) }
  })
const text = fc.string({ unit: 'grapheme', maxLength: 12 })

t.test('round trip is the identity', async () => {
  fc.assert(
    fc.property(
      fc.uniqueArray(fc.tuple(text, tensor), { selector: ([name]) => name, maxLength: 8 }),
      fc.dictionary(text, text, { maxKeys: 5, noNullPrototype: true }),
      fc.nat(7),
      (entries, metadata, offset) => {
        const written = writeSafetensors(new Map(entries), metadata)
        // The same file anywhere in a larger buffer, aligned or not.
        const room = new Uint8Array(written.length + offset)
        room.set(written, offset)
        const back = readSafetensors(room.subarray(offset))
        const same = (a: Tensor, b?: Tensor) =>
          b !== undefined &&
          a.dtype === b.dtype &&
          String(a.shape) === String(b.shape) &&
          Buffer.compare(a.bytes, b.bytes) === 0
        return (
          back.tensors.size === entries.length &&
          entries.every(([name, value]) => same(value, back.tensors.get(name))) &&
          JSON.stringify(Object.entries(back.metadata).sort()) ===
            JSON.stringify(Object.entries(metadata).sort())
        )
      },
    ),
    { seed: 1, numRuns: 300 },
  )
})

t.test('a header of too many values is refused', (t) => {
  const header = (tensors: number) => {
    const entry = '{"dtype":"F32","shape":[0],"data_offsets":[0,0]}'
    const text = `{${Array.from({ length: tensors }, (_, index) => `"t${index}":${entry}`).join(',')}}`
    const bytes = new Uint8Array(8 + text.length)
    new DataView(bytes.buffer).setBigUint64(0, BigInt(text.length), true)
    bytes.set(Buffer.from(text), 8)
    return bytes
  }
  t.same(problemsOf(header(1800)), [], 'the tensors of 600 slots fit')
  t.match(problemsOf(header(18_000)), [/more than 16384 values/])
  t.match(problemsOf(header(3), { headerValues: 20 }), [/more than 20 values/])
  t.end()
})
