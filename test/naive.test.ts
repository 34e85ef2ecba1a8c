/** The tool behind `npm run naive`: it finds functions by name, and every plain way fits the source. */
import t from 'tap'
import { misfits } from '../bench/naive/check.js'
import { Source } from '../bench/naive/patch.js'
import { variants } from '../bench/naive/variants.js'

const files = {
  src: {
    room: {
      'shop.ts': `export class Shop {
  #stock = 3
  async sell(count: number): Promise<number> {
    this.#stock -= count
    return this.#left()
  }
  #left(): number { return this.#stock }
}
export function price(pieces: number): number {
  return pieces * 2
}
function twice(): void {}
`,
      'other.ts': 'export function twice(): void {}\n',
    },
  },
}
const path = 'src/room/shop.ts'

t.test('a function or method gets another body, wherever it stands', async (t) => {
  const source = new Source(t.testdir(files))
  const text = source
    .with([
      { symbol: 'Shop.sell', body: 'return count' },
      { symbol: 'price', body: 'return 0' },
    ])
    .get(path)!
  t.match(text, /async sell\(count: number\): Promise<number> \{\s*return count\s*\}/)
  t.match(text, /export function price\(pieces: number\): number \{\s*return 0\s*\}/)
  t.notMatch(text, 'this.#stock -= count')
  t.notMatch(text, 'AsBuilt')
})

t.test('a body that calls original keeps the old code beside it', async (t) => {
  const source = new Source(t.testdir(files))
  const changes = [
    { symbol: 'Shop.#left', body: 'return original() - 1' },
    { symbol: 'price', body: 'return calls++ + original(pieces)', declares: 'let calls = 0' },
  ]
  const text = source.with(changes).get(path)!
  t.match(text, /#left\(\): number \{\s*const original = this\.#leftAsBuilt\.bind\(this\)/)
  t.match(text, '#leftAsBuilt(): number { return this.#stock }')
  t.match(text, /export function price[^}]*const original = priceAsBuilt/)
  t.match(text, /\nfunction priceAsBuilt\(pieces: number\): number \{\s*return pieces \* 2\s*\}/)
  t.match(text, /let calls = 0\s*$/)
})

t.test('a name that is gone, or that is not clear, is told', async (t) => {
  const source = new Source(t.testdir(files))
  t.throws(() => source.with([{ symbol: 'Shop.buy', body: '' }]), {
    message: 'There is no Shop.buy in src/.',
  })
  t.throws(() => source.with([{ symbol: 'twice', body: '' }]), { message: /twice is in src\/room\/.* and / })
})

t.test('every plain way fits the source: its functions are there and its code type checks', async (t) => {
  const variant = variants.find(({ pain }) => pain === 14)!
  // Two that do not fit, in the same call: reading the project takes seconds.
  const wrong = [
    { ...variant, pain: 98, changes: [{ symbol: 'routeOf', body: 'return request.nothing' }] },
    { ...variant, pain: 99, changes: [{ symbol: 'routeFrom', body: '' }] },
  ]
  const problems = misfits([...variants, ...wrong])
  t.equal(problems.length, wrong.length, problems.join('\n'))
  t.match(problems, [
    /^pain 98: src\/http\/.* with the plain way in it: Property 'nothing' does not exist/,
    'pain 99: There is no routeFrom in src/.',
  ])
  t.same(
    variants.map(({ pain }) => pain),
    Array.from({ length: 15 }, (_, index) => index + 1),
    'one plain way a pain',
  )
})
