/** The pack reader: an attack for every refusal in docs/pack-format.md. */
import t from 'tap'
import { FacetError } from '../src/errors.js'
import type { FamilyManifest } from '../src/manifest/manifest.js'
import { encodeFloat16 } from '../src/bytes/float16.js'
import { designFits, type ReadOptions, readPack, readPackInfo } from '../src/pack/read.js'
import { readSafetensors, type Tensor, writeSafetensors } from '../src/safetensors/safetensors.js'
import { writePack } from '../src/pack/write.js'
import { factoredFamily, tinyFamily, tinyPack } from './families.js'
import { openFile, rawFile } from './raw-safetensors.js'

const family = tinyFamily()
const sound = writePack(tinyPack(family), family, { dtype: 'f32' })

type Tensors = Map<string, Tensor>
type Metadata = Record<string, string | undefined>

/** The valid pack with a change. */
function changed(change: (tensors: Tensors, metadata: Metadata) => void, of = sound): Uint8Array {
  const { tensors, metadata } = readSafetensors(of)
  const edited: Metadata = { ...metadata }
  change(tensors, edited)
  const given = Object.entries(edited).filter((entry): entry is [string, string] => entry[1] !== undefined)
  return writeSafetensors(tensors, Object.fromEntries(given))
}

const meta = (fields: Metadata) => changed((_, metadata) => Object.assign(metadata, fields))
const without = (...names: string[]) =>
  changed((tensors) => {
    for (const name of names) tensors.delete(name)
  })
const f32 = (shape: number[], value = 0): Tensor => {
  const floats = new Float32Array(shape.reduce((product, size) => product * size, 1)).fill(value)
  return { dtype: 'F32', shape, bytes: new Uint8Array(floats.buffer) }
}
const put = (name: string, tensor: Tensor) => changed((tensors) => tensors.set(name, tensor))

function poke(name: string, index: number, value: number): Uint8Array {
  return changed((tensors) => {
    const bytes = new Uint8Array(tensors.get(name)!.bytes)
    new DataView(bytes.buffer).setFloat32(4 * index, value, true)
    tensors.set(name, { ...tensors.get(name)!, bytes })
  })
}

function problemsOf(
  bytes: Uint8Array,
  of: FamilyManifest = family,
  options?: ReadOptions,
): readonly string[] {
  try {
    readPack(bytes, of, options)
  } catch (error) {
    if (error instanceof FacetError && error.code === 'invalid_pack') return error.problems
    throw error
  }
  return []
}

t.test('a valid pack is read as it was written', async (t) => {
  const pack = readPack(sound, family)
  t.same(pack, tinyPack(family))
  const info = readPackInfo(sound)
  t.match(info, { classes: 3, design: 'parallel', bytes: sound.length, labels: ['cat', 'dog', 'owl'] })
})

t.test(
  'one fault, one problem that names the tensor or field, its value and what was expected',
  async (t) => {
    const { header, data } = openFile(sound)
    const labels = (value: unknown) => meta({ labels: JSON.stringify(value) })
    const attacks: [string, Uint8Array, RegExp][] = [
      [
        'another format',
        meta({ format: 'facet-pack/2' }),
        /^format is "facet-pack\/2", expected "facet-pack\/1"$/,
      ],
      ['no format', meta({ format: undefined }), /field "format" is missing/],
      ['no family', meta({ family: undefined }), /field "family" is missing/],
      ['no activation', meta({ activation: undefined }), /field "activation" is missing/],
      ['another family', meta({ family: 'f'.repeat(64) }), /family is "f+".*family "tiny".*another family/],
      ['an unknown field', meta({ licence: 'MIT' }), /metadata field "licence" is unknown/],
      ['a field of Object', meta({ constructor: 'x' }), /metadata field "constructor" is unknown/],
      [
        'an unknown design',
        meta({ design: 'huge' }),
        /design is "huge", expected one of feature, bn, series, parallel/,
      ],
      [
        'a design that does not fit',
        meta({ design: 'series' }),
        /design is "series".*design "parallel" cannot hold/,
      ],
      [
        'an unknown activation',
        meta({ activation: 'relu' }),
        /activation is "relu", expected "softmax" or "sigmoid"/,
      ],
      ['mean that is no JSON', meta({ mean: '0.5' + ',' }), /mean is not JSON/],
      [
        'mean of two channels',
        meta({ mean: '[0.5,0.5]' }),
        /mean is \[0.5,0.5\], expected a JSON array of three numbers/,
      ],
      ['mean with null', meta({ mean: '[0.5,0.5,null]' }), /mean is \[0.5,0.5,null\], expected/],
      [
        'a mean beyond reason',
        meta({ mean: '[1e300,0,0]' }),
        /mean is \[1e\+300,0,0\], but mean\[0\] must lie between -10000 and 10000/,
      ],
      ['a mean below reason', meta({ mean: '[0,-10001,0]' }), /mean\[1\] must lie between/],
      [
        'a std of zero',
        meta({ std: '[0.2,0,0.2]' }),
        /std is \[0.2,0,0.2\], but std\[1\] must lie between 0.0001 and 10000/,
      ],
      ['a negative std', meta({ std: '[0.2,0.2,-1]' }), /std\[2\] must lie between/],
      // Finite in float32, and a canary run with it comes out finite too.
      ['a std next to zero', meta({ std: '[0.2,0.2,1e-30]' }), /std\[2\] must lie between/],
      ['a std of another scale', meta({ std: '[1e5,1,1]' }), /std\[0\] must lie between/],
      ['labels that are no JSON', meta({ labels: 'cat,dog' }), /labels is not JSON/],
      ['labels that are no array', labels({ a: 1 }), /labels is an object, expected a JSON array/],
      [
        'labels that are no strings',
        labels(['cat', 2, 'owl']),
        /labels\[1\] is 2, expected a non-empty string/,
      ],
      ['an empty label', labels(['cat', ' ', 'owl']), /labels\[1\] is " ", expected a non-empty string/],
      ['a duplicate label', labels(['cat', 'dog', 'cat']), /labels\[2\] "cat" is a duplicate of labels\[0\]/],
      [
        'an endless label',
        labels(['cat', 'dog', 'x'.repeat(257)]),
        /labels\[2\] "x+…" has 257 characters, at most 256/,
      ],
      [
        'too few labels',
        labels(['cat', 'dog']),
        /labels has 2 entries, expected 3 as "head.weight" has 3 rows/,
      ],
      ['too many labels', labels(['a', 'b', 'c', 'd']), /labels has 4 entries, expected 3/],
      ['no label at all', labels([]), /labels has 0 entries, expected 1 to 32768/],
      [
        'labels beyond number',
        labels(Array.from({ length: 32769 }, (_, i) => `${i}`)),
        /labels has 32769 entries/,
      ],
      ['metrics that are no object', meta({ metrics: '[1]' }), /metrics is \[1\], expected a JSON object/],
      ['a key twice in metrics', meta({ metrics: '{"a":1,"a":2}' }), /metrics has the key "\$.a" twice/],
      ['a head without labels', meta({ labels: undefined }), /head is given without labels/],
      ['labels without a head', without('head.weight', 'head.bias'), /labels are given without a head/],
      ['a head without bias', without('head.bias'), /"head.weight" is given without "head.bias"/],
      ['a head without weight', without('head.weight'), /"head.bias" is given without "head.weight"/],
      [
        'head rows of a wrong length',
        put('head.weight', f32([3, 4])),
        /"head.weight" has shape \[3,4\], expected \[K, 5\]/,
      ],
      ['a flat head', put('head.weight', f32([15])), /"head.weight" has shape \[15\], expected \[K, 5\]/],
      [
        'a head without classes',
        put('head.weight', f32([0, 5])),
        /"head.weight" has shape \[0,5\], expected \[K, 5\]/,
      ],
      [
        'head biases that do not match',
        put('head.bias', f32([2])),
        /"head.bias" has shape \[2\], expected \[3\] as "head.weight" has 3 rows/,
      ],
      [
        'an unknown slot',
        put('stem.conv2.scale', f32([4])),
        /"stem.conv2.scale": unknown name, no such slot in family "tiny"/,
      ],
      ['an unknown part', put('stem.conv.gain', f32([4])), /"stem.conv.gain": unknown name/],
      [
        'a matrix where none fits',
        put('norm.matrix', f32([5, 5])),
        /"norm.matrix": this slot takes no matrix/,
      ],
      ['a name of Object', put('__proto__', f32([1])), /"__proto__": unknown name/],
      ['scale without bias', without('stem.conv.bias'), /slot "stem.conv" has .* but no "stem.conv.bias"/],
      ['bias without scale', without('norm.scale'), /slot "norm" has "norm.bias" but no "norm.scale"/],
      [
        'a wrong shape',
        put('stem.conv.scale', f32([5])),
        /"stem.conv.scale" has shape \[5\], expected \[4\]/,
      ],
      [
        'a transposed matrix',
        put('stem.conv.matrix', f32([3, 4])),
        /"stem.conv.matrix" has shape \[3,4\], expected \[4,3\]/,
      ],
      [
        'a convolution as matrix',
        put('stem.conv.matrix', f32([4, 3, 1, 1])),
        /has shape \[4,3,1,1\], expected \[4,3\]/,
      ],
      ['NaN', poke('stem.conv.matrix', 7, Number.NaN), /"stem.conv.matrix": value 7 is NaN, expected finite/],
      ['infinity', poke('norm.bias', 0, Number.NEGATIVE_INFINITY), /"norm.bias": value 0 is -Infinity/],
      ['NaN in the head', poke('head.weight', 14, Number.NaN), /"head.weight": value 14 is NaN/],
      [
        'another dtype',
        put('norm.bias', { dtype: 'BF16', shape: [5], bytes: new Uint8Array(10) }),
        /"norm.bias" has dtype BF16, expected F32 or F16/,
      ],
      [
        'a duplicate JSON key',
        rawFile(header.replace('{"__metadata__":{', '{"__metadata__":{"design":"parallel",'), data),
        /key "\$.__metadata__.design" twice/,
      ],
      ['trailing bytes', Buffer.concat([sound, Buffer.alloc(1)]), /1 trailing bytes/],
    ]
    for (const [what, bytes, expected] of attacks) {
      const problems = problemsOf(bytes)
      t.equal(problems.length, 1, `${what}: one problem (${problems.join('; ')})`)
      t.match(problems[0], expected, what)
    }
  },
)

t.test('infinity and NaN in half precision are refused', async (t) => {
  const half = writePack(tinyPack(family), family, { dtype: 'f16' })
  for (const bits of [0x7c00, 0xfc00, 0x7e01]) {
    const bytes = changed((tensors) => {
      const tensor = tensors.get('norm.scale')!
      const copy = new Uint8Array(tensor.bytes)
      new DataView(copy.buffer).setUint16(4, bits, true)
      tensors.set('norm.scale', { ...tensor, bytes: copy })
    }, half)
    t.match(problemsOf(bytes), [/^tensor "norm.scale": value 2 is -?(NaN|Infinity), expected finite values$/])
  }
})

t.test('a truncated pack is refused at every length', async (t) => {
  let accepted = 0
  for (let length = 0; length < sound.length; length++) {
    if (problemsOf(sound.subarray(0, length)).length === 0) accepted++
  }
  t.equal(accepted, 0)
})

t.test('all problems are listed at once, container and content together', async (t) => {
  const bytes = changed((tensors, metadata) => {
    Object.assign(metadata, { std: '[0,1,1]', labels: '["a","a","b","c"]', extra: '1' })
    tensors.delete('stem.conv.bias')
    tensors.set('nobody.scale', f32([1]))
    tensors.set('norm.scale', f32([7]))
    tensors.set('head.weight', f32([3, 5], Number.NaN))
  })
  const { header, data } = openFile(bytes)
  const problems = problemsOf(rawFile(header, Buffer.concat([data, Buffer.alloc(3)])))
  const expected = [
    /trailing/,
    /"extra" is unknown/,
    /std\[0\] must/,
    /labels\[1\] "a"/,
    /"nobody.scale"/,
    /"norm.scale" has shape/,
    /no "stem.conv.bias"/,
    /"head.weight": value 0 is NaN/,
  ]
  for (const pattern of expected)
    t.ok(
      problems.some((problem) => pattern.test(problem)),
      String(pattern),
    )
  t.equal(problems.length, expected.length)
})

t.test('the error is a 422 with a summary and the whole list', async (t) => {
  try {
    readPack(meta({ design: 'huge', activation: 'relu' }), family)
    t.fail('must throw')
  } catch (error) {
    t.match(error, {
      code: 'invalid_pack',
      status: 422,
      message: /^Not a valid pack: design is .*\(and 1 more\)$/,
    })
  }
  t.throws(() => readPackInfo(meta({ design: 'huge' })), { code: 'invalid_pack' })
})

t.test('a design fits a family of its own or a larger one', async (t) => {
  t.ok(designFits('feature', 'bn') && designFits('bn', 'series') && designFits('bn', 'parallel'))
  t.notOk(designFits('series', 'parallel') || designFits('parallel', 'series') || designFits('bn', 'feature'))

  const small = changed((tensors, metadata) => {
    metadata.design = 'bn'
    for (const name of [...tensors.keys()]) if (name.endsWith('.matrix')) tensors.delete(name)
  })
  t.equal(readPack(small, family).slots.get('stem.conv')!.matrix, undefined)
  t.match(problemsOf(meta({ design: 'bn' })), [
    /"blocks.0.c1.conv.matrix": .*"bn" has no matrix/,
    /"stem.conv.matrix": .*"bn" has no matrix/,
  ])

  const bare = changed((tensors, metadata) => {
    metadata.design = 'feature'
    for (const name of [...tensors.keys()]) if (!name.startsWith('head.')) tensors.delete(name)
  })
  t.equal(readPack(bare, family).slots.size, 0)
  t.match(problemsOf(meta({ design: 'feature' }))[0], /design "feature" has no slot tensors/)

  const narrow = tinyFamily('bn')
  const wide = changed((_, metadata) => Object.assign(metadata, { family: narrow.fingerprint }))
  t.match(problemsOf(wide, narrow), [
    /design is "parallel", which a family of design "bn" cannot hold/,
    /"blocks.0.c1.conv.matrix": this slot takes no matrix/,
    /"stem.conv.matrix": this slot takes no matrix/,
  ])
})

t.test('slots may be left out, and so may head and labels', async (t) => {
  const partial = readPack(without('norm.scale', 'norm.bias', 'stem.conv.matrix'), family)
  t.same([...partial.slots.keys()], ['stem.conv', 'blocks.0.c1.conv'])
  t.equal(partial.slots.get('stem.conv')!.matrix, undefined)

  const embed = changed((tensors, metadata) => {
    metadata.labels = undefined
    tensors.delete('head.weight')
    tensors.delete('head.bias')
  })
  t.match(readPack(embed, family), { head: null, labels: null })
  t.equal(readPackInfo(embed).classes, 0)
})

t.test(
  'factors are given together, in the rank of the slot, and only where the slot takes them',
  async (t) => {
    const factored = factoredFamily()
    const bytes = writePack(tinyPack(factored), factored, { dtype: 'f32' })
    const edited = (change: (tensors: Tensors, metadata: Metadata) => void) => changed(change, bytes)
    const slot = 'blocks.0.c1.conv'
    t.match(readPack(bytes, factored).slots.get(slot), { up: { length: 5 * 2 }, down: { length: 2 * 4 } })
    const none = edited((tensors) => {
      for (const part of ['up', 'down']) tensors.delete(`${slot}.${part}`)
    })
    t.same(Object.keys(readPack(none, factored).slots.get(slot)!), ['scale', 'bias'])

    t.match(
      problemsOf(
        edited((tensors) => tensors.delete(`${slot}.down`)),
        factored,
      ),
      [
        /slot "blocks.0.c1.conv" has .*"blocks.0.c1.conv.up" but no "blocks.0.c1.conv.down": a slot is given whole/,
      ],
    )
    t.match(
      problemsOf(
        edited((tensors) => tensors.set(`${slot}.up`, f32([5, 3]))),
        factored,
      ),
      [/"blocks.0.c1.conv.up" has shape \[5,3\], expected \[5,2\]/],
    )
    t.match(
      problemsOf(
        edited((tensors) => tensors.set(`${slot}.matrix`, f32([5, 4]))),
        factored,
      ),
      [
        /"blocks.0.c1.conv.matrix": this slot takes no matrix in family "tiny": it takes factors of rank 2, "blocks.0.c1.conv.up" \[5,2\] and "blocks.0.c1.conv.down" \[2,4\]\. Factor the matrix/,
      ],
    )
    t.match(problemsOf(put('stem.conv.up', f32([4, 2]))), [
      /"stem.conv.up": this slot takes no up in family "tiny": it takes a whole matrix, "stem.conv.matrix" \[4,3\]\. Give the product of the factors/,
    ])
    const strange = changed((_, metadata) => Object.assign(metadata, { family: factored.fingerprint }))
    t.match(problemsOf(strange, factored)[0], /"blocks.0.c1.conv.matrix": this slot takes no matrix/)
  },
)

t.test('a pack may lie anywhere in memory', async (t) => {
  for (const dtype of ['f32', 'f16'] as const) {
    const bytes = writePack(tinyPack(family), family, { dtype })
    for (let offset = 0; offset < 8; offset++) {
      const room = new Uint8Array(bytes.length + offset)
      room.set(bytes, offset)
      const { head, ...found } = readPack(room.subarray(offset), family)
      const { half, ...whole } = head!
      t.same({ ...found, head: whole }, tinyPack(family), `${dtype} at ${offset}`)
      t.same(half, dtype === 'f16' ? encodeFloat16(whole.weight) : undefined)
    }
  }
})

t.test('dtypes may be mixed', async (t) => {
  const half = encodeFloat16(new Float32Array([1, 2, 3, 4]))
  const mixed = put('stem.conv.scale', { dtype: 'F16', shape: [4], bytes: new Uint8Array(half.buffer) })
  t.same(readPack(mixed, family).slots.get('stem.conv')!.scale, new Float32Array([1, 2, 3, 4]))
})

t.test('the limits can be chosen', async (t) => {
  const limited = (limits: NonNullable<ReadOptions['limits']>) => problemsOf(sound, family, { limits })
  t.match(limited({ headerBytes: 100 }), [/header is .* limit of 100/])
  t.match(limited({ labels: 2 }), [/labels has 3 entries, expected 1 to 2/])
  t.match(limited({ labelLength: 2 })[0], /labels\[0\] "cat" has 3 characters, at most 2/)
})
