/** Which domain a mistyped id probably meant. */
import t from 'tap'
import { similarDomain } from '../src/domain-id.js'

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
  for (const [mistyped, meant] of cases) t.equal(similarDomain(mistyped, ids), meant, mistyped)
})

t.test('its cost is bounded, however many domains there are', async (t) => {
  let lookedAt = 0
  function* many() {
    for (let i = 0; i < 1_000_000; i++) {
      lookedAt++
      yield `domain-${String(i).padStart(6, '0')}`
    }
  }
  similarDomain('unheard-of', many())
  t.ok(lookedAt <= 10_001, 'of others, ten thousand')
  lookedAt = 0
  similarDomain('domain-abcdef', many())
  t.ok(lookedAt <= 501, 'of like ones, five hundred')
})
