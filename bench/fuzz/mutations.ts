/**
 * Mutates packs for fuzzing: some mutations damage bytes blindly, others edit the header with knowledge of
 * the format.
 *
 * Deterministic: the same seed gives the same packs on every machine.
 */

/** Uniform numbers from a 32-bit seed (mulberry32). */
export class Random {
  #state: number

  constructor(seed: number) {
    this.#state = seed >>> 0
  }

  /** An integer from 0 to below `n`. */
  below(n: number): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0
    let x = this.#state
    x = Math.imul(x ^ (x >>> 15), x | 1)
    x ^= x + Math.imul(x ^ (x >>> 7), x | 61)
    return Math.floor((((x ^ (x >>> 14)) >>> 0) / 2 ** 32) * n)
  }

  pick<T>(list: readonly T[]): T {
    return list[this.below(list.length)]!
  }
}

/** A header as lists, so that a key may occur twice and in any order. Values are JSON texts. */
interface Header {
  metadata: [string, string][]
  tensors: { name: string; fields: [string, string][] }[]
}

export interface Mutation {
  bytes: Uint8Array
  /** Names of the mutations, for the report. */
  steps: string[]
}

type Edit = (header: Header, data: Uint8Array, random: Random) => Uint8Array | undefined
type Damage = (bytes: Uint8Array, random: Random, others: readonly Uint8Array[]) => Uint8Array

/** Makes a pack from one of `packs` (all valid) by one to three mutations. */
export function mutate(packs: readonly Uint8Array[], random: Random): Mutation {
  let bytes: Uint8Array = random.pick(packs).slice()
  const steps: string[] = []
  for (let rest = 1 + random.below(3) * random.below(2); rest > 0; rest--) {
    if (random.below(3) === 0) {
      const name = random.pick(Object.keys(damages))
      bytes = damages[name]!(bytes, random, packs)
      steps.push(name)
    } else {
      const name = random.pick(Object.keys(edits))
      const open = openHeader(bytes)
      // Blind damage may have left no header to edit.
      if (!open) continue
      const data = edits[name]!(open.header, open.data, random) ?? open.data
      bytes = close(open.header, data, random)
      steps.push(name)
    }
  }
  return { bytes, steps }
}

const damages: Record<string, Damage> = {
  flipBits(bytes, random) {
    for (let n = 1 + random.below(8); n > 0 && bytes.length > 0; n--) {
      const at = random.below(bytes.length)
      bytes[at] = bytes[at]! ^ (1 << random.below(8))
    }
    return bytes
  },
  setByte(bytes, random) {
    if (bytes.length > 0) bytes[random.below(bytes.length)] = random.below(256)
    return bytes
  },
  flipLengthBit(bytes, random) {
    if (bytes.length >= 8) {
      const at = random.below(8)
      bytes[at] = bytes[at]! ^ (1 << random.below(8))
    }
    return bytes
  },
  truncate: (bytes, random) => bytes.slice(0, random.below(bytes.length + 1)),
  extend: (bytes, random) => join(bytes, noise(1 + random.below(16), random)),
  insert(bytes, random) {
    const at = random.below(bytes.length + 1)
    return join(bytes.subarray(0, at), noise(1 + random.below(8), random), bytes.subarray(at))
  },
  remove(bytes, random) {
    const at = random.below(bytes.length + 1)
    return join(bytes.subarray(0, at), bytes.subarray(at + 1 + random.below(8)))
  },
  splice(bytes, random, others) {
    const other = random.pick(others)
    return join(bytes.subarray(0, random.below(bytes.length + 1)), other.subarray(random.below(other.length)))
  },
  repeat(bytes, random) {
    const from = random.below(bytes.length + 1)
    const part = bytes.subarray(from, from + random.below(64))
    return join(bytes.subarray(0, from), part, bytes.subarray(from))
  },
  noise: (_, random) => noise(random.below(256), random),
}

const numbers = ['-1', '0', '1', '2', '3', '4', '5', '7', '0.5', '4.0', '1e2', '-0', '1e400', '65536']
const large = ['4294967295', '4294967296', '9007199254740991', '9007199254740992', '9007199254740993', '1e19']
const others = [
  'null',
  'true',
  '""',
  '"x"',
  '[]',
  '{}',
  '[[1]]',
  `${'['.repeat(20)}${']'.repeat(20)}`,
  '{"a":1,"a":2}',
]
const names = [
  '__proto__',
  'constructor',
  '',
  '0',
  'head.weight',
  'norm.matrix',
  'norm.gain',
  'stem.conv',
  'é\u0000',
  '__metadata__',
]
const texts = [
  '',
  ' ',
  '\ud800',
  'softmax',
  'bn',
  'feature',
  'series',
  '{}',
  '{"a":1,"a":2}',
  '[0.1,0.2,0.3]',
  '[1e-300,1,1]',
  '[1e300,0,0]',
  '[0.2,-0.2,0.2]',
  '[0,1]',
  '["a","a","b"]',
  '["x","y","z"]',
  '["a","b"]',
  'null',
  '[',
  '{"__proto__":{"a":1}}',
]
const fields = [
  'format',
  'family',
  'design',
  'labels',
  'activation',
  'mean',
  'std',
  'name',
  'metrics',
  'toString',
]

const edits: Record<string, Edit> = {
  setOffset(header, _, random) {
    const field = fieldOf(header, 'data_offsets', random)
    const offsets = field && JSON.parse(field[1])
    if (!field || !Array.isArray(offsets)) return
    const at = random.below(2)
    const moved = String(Number(offsets[at]) + random.pick([-8, -4, -2, -1, 1, 2, 4, 8, 2 ** 53]))
    const parts = offsets.map(String)
    parts[at] = random.pick([moved, moved, random.pick(numbers), random.pick(large)])
    field[1] = `[${parts}]`
  },
  setShape(header, _, random) {
    const field = fieldOf(header, 'shape', random)
    if (!field) return
    const length = random.below(4)
    const sizes = Array.from({ length }, () => random.pick([...numbers, random.pick(large)]))
    field[1] = `[${sizes}]`
  },
  setDtype(header, _, random) {
    const field = fieldOf(header, 'dtype', random)
    if (field)
      field[1] = random.pick(['"F32"', '"F16"', '"BF16"', '"F64"', '"I8"', '"f32"', '"F4"', 'null', '7'])
  },
  setField(header, _, random) {
    const field = random.pick(random.pick(header.tensors)?.fields ?? [])
    if (field) field[1] = random.pick([...others, ...numbers])
  },
  renameField(header, _, random) {
    const field = random.pick(random.pick(header.tensors)?.fields ?? [])
    if (field) field[0] = random.pick(['dtype', 'shape', 'data_offsets', 'offset', ''])
  },
  renameTensor(header, _, random) {
    const tensor = random.pick(header.tensors)
    if (tensor) tensor.name = random.pick([...names, random.pick(header.tensors)!.name])
  },
  swapNames(header, _, random) {
    const [a, b] = [random.pick(header.tensors), random.pick(header.tensors)]
    if (a && b) [a.name, b.name] = [b.name, a.name]
  },
  swapTensors(header, _, random) {
    const list = header.tensors
    if (list.length === 0) return
    const [a, b] = [random.below(list.length), random.below(list.length)]
    ;[list[a], list[b]] = [list[b]!, list[a]!]
  },
  repeatTensor(header, _, random) {
    const tensor = random.pick(header.tensors)
    if (tensor) header.tensors.splice(random.below(header.tensors.length + 1), 0, structuredClone(tensor))
  },
  forgetTensor(header, _, random) {
    header.tensors.splice(random.below(header.tensors.length + 1), 1)
  },
  addEmptyTensor(header, _, random) {
    const shape = random.pick(['[0]', '[0,5]', '[1]', '[]'])
    const end = random.pick(['0', '4'])
    header.tensors.splice(random.below(header.tensors.length + 1), 0, {
      name: random.pick(names),
      fields: [
        ['dtype', '"F32"'],
        ['shape', shape],
        ['data_offsets', `[0,${end}]`],
      ],
    })
  },
  /** Removes whole tensors, header entry and data: the rest may be a valid pack. */
  dropWhole(header, data, random) {
    const prefix = random.pick(header.tensors)?.name.replace(/\.[^.]*$/, random.pick(['.', '.matrix']))
    if (prefix === undefined) return undefined
    return rebuild(header, data, (name) => !name.startsWith(prefix))
  },
  /** Puts the tensors into another order, header and data: a valid pack if all are still aligned. */
  shuffle(header, data, random) {
    const list = header.tensors
    for (let i = list.length - 1; i > 0; i--) {
      const j = random.below(i + 1)
      ;[list[i], list[j]] = [list[j]!, list[i]!]
    }
    return rebuild(header, data, () => true)
  },
  /** Removes the last row of a tensor, in header and data. */
  shrink(header, data, random) {
    const tensor = random.pick(header.tensors)
    const shape = tensor?.fields.find(([name]) => name === 'shape')
    const offsets = tensor?.fields.find(([name]) => name === 'data_offsets')
    if (!shape || !offsets) return undefined
    const [sizes, place] = [JSON.parse(shape[1]), JSON.parse(offsets[1])]
    if (!Array.isArray(sizes) || !(sizes[0] > 1) || !Array.isArray(place)) return undefined
    const row = (place[1] - place[0]) / sizes[0]
    shape[1] = JSON.stringify([sizes[0] - 1, ...sizes.slice(1)])
    offsets[1] = JSON.stringify([place[0], place[1] - row])
    return rebuild(header, data, () => true)
  },
  /** Makes some tensors begin before the one ahead of them ends; everything else is valid. */
  overlap(header, data, random) {
    const back = random.pick([2, 4, 8])
    return rebuild(
      header,
      data,
      () => true,
      () => (random.below(8) === 0 ? back : 0),
    )
  },
  setMetadata(header, _, random) {
    const entry = random.pick(header.metadata)
    if (entry)
      entry[1] = random.pick([
        JSON.stringify(random.pick(texts)),
        JSON.stringify(random.pick(texts)),
        random.pick(others),
      ])
  },
  addMetadata(header, _, random) {
    header.metadata.push([random.pick(fields), JSON.stringify(random.pick(texts))])
  },
  dropMetadata(header, _, random) {
    header.metadata.splice(random.below(header.metadata.length + 1), 1)
  },
  shuffleMetadata(header, _, random) {
    header.metadata.sort(() => random.below(3) - 1)
  },
  setValue(_, data, random) {
    if (data.length < 4) return undefined
    const edited = data.slice()
    const at = 2 * random.below((edited.length >> 1) - 1)
    const value = random.pick([0, -0, 1e-45, 65504, 1e30, Number.NaN, Infinity, -Infinity, 0.1])
    new DataView(edited.buffer).setFloat32(at, value, true)
    return edited
  },
  setHalf(_, data, random) {
    if (data.length < 2) return undefined
    const edited = data.slice()
    const at = 2 * random.below(edited.length >> 1)
    new DataView(edited.buffer).setUint16(
      at,
      random.pick([0x7bff, 0x7c00, 0xfc00, 0x7e00, 0x0001, 0x8000]),
      true,
    )
    return edited
  },
}

function fieldOf(header: Header, name: string, random: Random): [string, string] | undefined {
  return random.pick(header.tensors)?.fields.find((field) => field[0] === name)
}

/**
 * Lays the tensors out anew in the header's order, without those that `keep` refuses. Each begins `back()`
 * bytes before the end of the one ahead of it.
 */
function rebuild(
  header: Header,
  data: Uint8Array,
  keep: (name: string) => boolean,
  back: () => number = () => 0,
): Uint8Array {
  const parts: Uint8Array[] = []
  let end = 0
  header.tensors = header.tensors.filter((tensor) => keep(tensor.name))
  for (const tensor of header.tensors) {
    const field = tensor.fields.find(([name]) => name === 'data_offsets')
    const offsets = field && JSON.parse(field[1])
    if (!field || !Array.isArray(offsets)) continue
    const whole = data.subarray(Number(offsets[0]), Number(offsets[1]))
    const shared = Math.min(back(), end, whole.length)
    const part = whole.subarray(shared)
    end -= shared
    field[1] = `[${end},${end + whole.length}]`
    end += whole.length
    parts.push(part)
  }
  return join(...parts)
}

function openHeader(bytes: Uint8Array): { header: Header; data: Uint8Array } | undefined {
  if (bytes.length < 8) return undefined
  const end = 8 + new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true)
  try {
    const root = JSON.parse(Buffer.from(bytes.subarray(8, end)).toString())
    const header: Header = { metadata: [], tensors: [] }
    for (const [name, entry] of Object.entries(root)) {
      const pairs = Object.entries(entry as object).map(([key, value]): [string, string] => [
        key,
        JSON.stringify(value),
      ])
      if (name === '__metadata__') header.metadata = pairs
      else header.tensors.push({ name, fields: pairs })
    }
    return { header, data: bytes.subarray(end) }
  } catch {
    return undefined
  }
}

/** Writes the header, with random padding, in front of the data. */
function close(header: Header, data: Uint8Array, random: Random): Uint8Array {
  const object = (pairs: [string, string][]) =>
    `{${pairs.map(([key, value]) => `${JSON.stringify(key)}:${value}`).join(',')}}`
  const tensors = header.tensors.map(({ name, fields: pairs }): [string, string] => [name, object(pairs)])
  const text = object([['__metadata__', object(header.metadata)], ...tensors])
  const head = new TextEncoder().encode(text + random.pick(['', '', ' ', '\n', '\0', '       ']))
  const length = new Uint8Array(8)
  new DataView(length.buffer).setUint32(0, head.length, true)
  return join(length, head, data)
}

function join(...parts: Uint8Array[]): Uint8Array {
  const out = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0))
  let at = 0
  for (const part of parts) {
    out.set(part, at)
    at += part.length
  }
  return out
}

function noise(length: number, random: Random): Uint8Array {
  return new Uint8Array(length).map(() => random.below(256))
}
