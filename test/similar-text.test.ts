/** Which of the known names a mistyped one probably meant. */
import fc from 'fast-check'
import t from 'tap'
import { similarText } from '../src/similar-text.js'

const ids = ['base', 'eurosat', 'sketch', 'sketch-v2', 'trashnet', 'tea', 'x1', 'cifar100', 'cifar10']

t.test('an id with a slip or two is recognised', async (t) => {
  const cases: [string, string | null][] = [
    ['eurosta', 'eurosat'],
    ['eurosatt', 'eurosat'],
    ['urosat', 'eurosat'],
    ['EUROSAT', null],
    ['skech', 'sketch'],
    ['sketch_v2', 'sketch-v2'],
    ['cifar1000', 'cifar100'],
    ['cifar11', 'cifar10'],
    ['tee', 'tea'],
    ['toe', null],
    ['x2', null],
    ['', null],
    ['unheard-of', null],
  ]
  for (const [mistyped, meant] of cases) t.equal(similarText(mistyped, ids), meant, mistyped)
})

t.test('its cost is bounded, however many domains there are', async (t) => {
  let lookedAt = 0
  function* many() {
    for (let i = 0; i < 1_000_000; i++) {
      lookedAt++
      yield `domain-${String(i).padStart(6, '0')}`
    }
  }
  similarText('unheard-of', many())
  t.ok(lookedAt <= 10_001, 'of others, ten thousand')
  lookedAt = 0
  similarText('domain-abcdef', many())
  t.ok(lookedAt <= 501, 'of like ones, five hundred')
})

/** Levenshtein's distance, as it is defined. */
function distance(one: string, other: string): number {
  if (one === '' || other === '') return one.length + other.length
  const [restOfOne, restOfOther] = [one.slice(1), other.slice(1)]
  if (one[0] === other[0]) return distance(restOfOne, restOfOther)
  return (
    1 + Math.min(distance(restOfOne, restOfOther), distance(restOfOne, other), distance(one, restOfOther))
  )
}

t.test('a slip is a character more, less or another one', async () => {
  const letters = fc.string({ unit: fc.constantFrom('a', 'b', 'c'), minLength: 4, maxLength: 7 })
  const pair = fc.tuple(letters, letters).map(([mistyped, id]) => [`x${mistyped}`, `x${id}`] as const)
  fc.assert(
    fc.property(pair, ([mistyped, id]) => {
      const isSlip = distance(mistyped, id) <= Math.min(2, Math.floor(mistyped.length / 3))
      return similarText(mistyped, [id]) === (isSlip ? id : null)
    }),
    { numRuns: 2000 },
  )
})
