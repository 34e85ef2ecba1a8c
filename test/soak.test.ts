/** A short soak, and a check that the soak detects violations. */
import { join } from 'node:path'
import t from 'tap'
import { judgeAnswer, Ledger } from '../bench/soak/ledger.js'
import { type Sample, type Soak, trendOf, violations } from '../bench/soak/verdict.js'
import { compileProgram, Program } from './service-process.js'

t.test(
  'some seconds of full load: no good request fails, every answer is the one computed alone',
  async (t) => {
    const dir = t.testdir()
    await compileProgram(dir, ['src', 'bench'])
    const { code, out, err } = await new Program(join(dir, 'bench', 'soak', 'index.js'), ['--seconds', '4'])
      .exit
    t.equal(code, 0, `${out}${err}`)
    const { soak } = JSON.parse(out.trim().split('\n').at(-1)!)
    t.match(soak, { failed: 0, wrong: 0, misjudged: 0, violations: [], exitCode: 0 })
    t.ok(soak.requests > 0 && soak.changes > 0 && soak.refused > 0, out)
  },
)

const MIB = 2 ** 20
const clean: Soak = {
  ...{ seconds: 600, requests: 100, images: 200, latencies: [1], absent: 0, left: 0, changes: 9, refused: 1 },
  ...{
    failed: 0,
    wrong: 0,
    misjudged: 0,
    examples: [],
    exitCode: 0,
    storeProblems: [],
    attacks: null,
    evictions: 0,
    misses: 0,
  },
  samples: [],
}

/** A sawtooth, as of garbage collection, on a rising level, after a first minute that does not count. */
function memory(seconds: number, perHour: number): Sample[] {
  return Array.from({ length: seconds }, (_, second) => ({
    seconds: second,
    bytes: MIB * ((second < 60 ? 100 + second : 200) + (second % 6) + (perHour * second) / 3600),
  }))
}

t.test('memory that grows with the reloads is found (pain 12)', async (t) => {
  t.match(trendOf(memory(600, 0)), { level: 202.5 * MIB }, 'the first minute does not count')
  t.same(violations({ ...clean, samples: memory(600, 0) }), [])
  t.same(violations({ ...clean, samples: memory(600, -50) }), [], 'it may shrink')
  t.same(violations({ ...clean, samples: memory(600, 9) }), [], '4.4% an hour')
  t.match(violations({ ...clean, samples: memory(600, 12) }), [/^private bytes grow by 6\.\d% an hour/])
  t.equal(trendOf(memory(120, 0)), null, 'a short run tells no trend')
  const slowStart = memory(1800, 0).map((at) =>
    at.seconds < 170 ? { ...at, bytes: at.bytes - 20 * MIB } : at,
  )
  t.same(violations({ ...clean, samples: slowStart }), [], 'of a long run the first tenth does not count')
})

t.test('every other violation is reported', async (t) => {
  const cases: [Partial<Soak>, RegExp][] = [
    [{ failed: 1 }, /1 good requests failed/],
    [{ wrong: 2 }, /2 answers differ/],
    [{ misjudged: 3 }, /3 bad requests/],
    [{ requests: 0 }, /no request was answered/],
    [{ refused: 0 }, /no bad request/],
    [{ changes: 0 }, /nothing was registered/],
    [{ exitCode: 1 }, /ended with 1/],
    [{ exitCode: null }, /ended with null/],
    [{ storeProblems: ['shop: torn'] }, /not intact: shop: torn/],
    [{ attacks: { flood: { 429: 9, 503: 1, 500: 2 } } }, /faults of the service: 2 times 500 to "flood"$/],
  ]
  for (const [fault, message] of cases) t.match(violations({ ...clean, ...fault }), [message])
})

t.test(
  'an answer may come from a version that was active at some moment of its request, and from no other',
  async (t) => {
    const ledger = new Ledger()
    ledger.add('shop', 'one')
    const before = ledger.watch('shop')
    t.same([...before], ['one'])
    ledger.begin('shop', 'two')
    t.ok(ledger.changing('shop'))
    const during = ledger.watch('shop')
    ledger.end('shop', true)
    const after = ledger.watch('shop')
    t.same([[...before], [...during], [...after]], [['one', 'two'], ['one', 'two'], ['two']])
    ledger.unwatch('shop', before)
    ledger.begin('shop', null)
    t.same(
      [[...before], [...after]],
      [
        ['one', 'two'],
        ['two', null],
      ],
    )
    ledger.end('shop', false)
    t.equal(ledger.now('shop'), 'two', 'refused')

    const references = [
      { scores: [0.2, 0.8], features: [1, -2] },
      { scores: [0.6, 0.4], features: [3, 4] },
    ]
    const judge = (answer: Parameters<typeof judgeAnswer>[0]) =>
      judgeAnswer(
        answer,
        during,
        (version) => ['one', 'two'].indexOf(version),
        (pack) => references[pack]!,
      )
    const scored = (version: string, ...scores: [number, number][]) =>
      judge({ version, predictions: scores.map(([index, score]) => ({ index, score })) })
    t.equal(scored('one', [1, 0.8]), null)
    t.equal(scored('two', [0, 0.60004], [1, 0.4]), null)
    t.match(scored('one', [0, 0.6], [1, 0.4]), /best score is 0.6, alone 0.8/, "another version's answer")
    t.match(scored('two', [0, 0.6], [1, 0.41]), /class 1 scores 0.41, alone 0.4/)
    t.match(scored('two', [0, 0.6], [7, 0.4]), /class 7 scores 0.4, alone undefined/)
    t.match(scored('one', [1, Number.NaN]), /best score is NaN/)
    t.match(scored('one'), /no predictions/)
    t.match(scored('three', [1, 0.8]), /three answered, which was not active/)
    t.equal(judge({ version: 'two', features: [3.0003, 4] }), null)
    t.match(judge({ version: 'two', features: [3.0005, 4] }), /feature 0 is 3.0005, alone 3/)
    t.match(judge({ version: 'two', features: [3] }), /1 features, not 2/)
  },
)
