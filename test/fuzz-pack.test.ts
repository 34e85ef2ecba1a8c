/** A few seconds of `npm run fuzz`, and a check that the fuzzer detects a faulty reader. */
import fc from 'fast-check'
import t from 'tap'
import { check, fuzzPacks, fuzzTarget, type Reader } from '../bench/fuzz/pack-fuzz.js'
import { FacetError } from '../src/errors.js'
import { designs } from '../src/manifest/manifest.js'
import { readPack } from '../src/pack/read.js'
import { factoredFamily, tinyFamily, tinyPack } from './families.js'
import { openFile, rawFile } from './raw-safetensors.js'

const families = [...designs.map((design) => tinyFamily(design)), factoredFamily()]
const targets = families.map((family) => fuzzTarget(family, tinyPack(family)))

t.test('mutated packs are refused with their problems, or accepted with what is in them', async (t) => {
  const count = fuzzPacks(targets, 20260101, (packs) => packs >= 4000)
  t.same(count.violations, [])
  t.ok(count.refused > 2000 && count.accepted > 200, `${count.refused} refused, ${count.accepted} accepted`)
})

t.test('the same seed gives the same run, another seed another', async (t) => {
  const run = (seed: number) => {
    const { refused, accepted } = fuzzPacks(targets, seed, (packs) => packs >= 300)
    return `${refused} ${accepted}`
  }
  t.equal(run(1), run(1))
  t.not(run(1), run(2))
})

t.test('a reader with a fault is caught', async (t) => {
  const broken: [string, Reader, RegExp][] = [
    [
      'crashes',
      (bytes, family) => (bytes.length % 7 === 0 ? raise(new TypeError('x')) : readPack(bytes, family)),
      /^crash: TypeError/,
    ],
    [
      'refuses without a reason',
      () => raise(new FacetError('invalid_pack', 'no')),
      /refused with 0 problems|sound/,
    ],
    ['accepts anything', (_, family) => tinyPack(family), /^accepted wrongly/],
    [
      'refuses sound packs',
      () => raise(new FacetError('invalid_pack', 'no', { problems: ['no'] })),
      /^refused a valid pack: no/,
    ],
    ['gets a value wrong', (bytes, family) => nudge(readPack(bytes, family)), /\[0\] is .* instead of/],
    [
      'forgets the head',
      (bytes, family) => ({ ...readPack(bytes, family), head: null }),
      /tensors instead of/,
    ],
  ]
  for (const [what, read, expected] of broken) {
    const { violations } = fuzzPacks(targets, 5, (packs) => packs >= 200, undefined, read)
    t.ok(
      violations.some((violation) => expected.test(violation.what)),
      what,
    )
  }
})

function raise(error: Error): never {
  throw error
}

function nudge(pack: ReturnType<typeof readPack>) {
  const values = pack.head?.bias ?? new Float32Array(1)
  values[0] = values[0]! + 1
  return pack
}

t.test('any bytes, any JSON as a header: an answer, and the right one', async () => {
  const { family, packs } = targets.at(-1)!
  const { header, data } = openFile(packs[0]!)
  const answers = (bytes: Uint8Array) => {
    const { violation } = check(bytes, family)
    if (violation !== null) throw new Error(violation)
  }
  const settings = { seed: 3, numRuns: 400 }
  fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), answers), settings)
  fc.assert(
    fc.property(fc.json({ maxDepth: 4 }), (text) => answers(rawFile(`{"a":${text}}`, data))),
    settings,
  )
  fc.assert(
    fc.property(fc.nat(header.length - 1), fc.string({ maxLength: 4 }), (at, text) =>
      answers(rawFile(header.slice(0, at) + text + header.slice(at + text.length), data)),
    ),
    settings,
  )
})
