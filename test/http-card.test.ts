/** What a domain is: in its answer, and as Markdown. */
import t from 'tap'
import { FacetError } from '../src/errors.js'
import { MemoryDomains, pack, sha256, testApp } from './http-app.js'

const about = {
  name: 'Leaves',
  description: 'Leaves of trees',
  license: 'MIT',
  created: '2026-01-02',
  metrics: { accuracy: 91.5, note: '2 + 2' },
}
const leaves = pack(['oak', 'beech'], about)

t.test('a domain tells what its active pack says', async (t) => {
  const { app, domains } = await testApp(t)
  await domains.put('leaves', leaves, { activate: true })
  const { card } = (await app.inject('/v1/domains/leaves')).json()
  t.strictSame(card, {
    ...about,
    activation: 'softmax',
    labels: ['oak', 'beech'],
    input: { height: 8, width: 8, resize: 8, kernel: 'linear', mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5] },
  })
  const bare = (await app.inject('/v1/domains/colours')).json().card
  t.match(bare, {
    name: null,
    description: null,
    license: null,
    metrics: null,
    labels: ['red', 'green', 'blue'],
  })
})

t.test('where nothing is active, or the pack cannot be read, there is no card', async (t) => {
  const { app, domains } = await testApp(t)
  await domains.put('staged', leaves, { activate: false })
  t.equal((await app.inject('/v1/domains/staged')).json().card, null)
  await domains.put('damaged', leaves, { activate: true })
  const pack = MemoryDomains.prototype.pack
  domains.pack = (id, version) => ({
    ...pack.call(domains, id, version),
    describe: () => Promise.reject(new FacetError('domain_failed', 'The pack has changed on disk.')),
  })
  const answer = await app.inject('/v1/domains/damaged')
  t.match(answer.json(), { domain: 'damaged', card: null })
  t.match((await app.inject('/v1/domains/damaged/card')).json(), { status: 503, code: 'domain_failed' })
})

t.test('the card as Markdown', async (t) => {
  const { app, domains } = await testApp(t)
  await domains.put('leaves', leaves, { activate: true })
  const answer = await app.inject('/v1/domains/leaves/card')
  t.match(answer.headers, { 'content-type': 'text/markdown; charset=utf-8', etag: `"${sha256(leaves)}"` })
  t.equal(
    answer.body,
    `# Leaves

Leaves of trees

| | |
|---|---|
| Domain | \`leaves\` |
| Version | \`${sha256(leaves)}\` |
| Family | \`tiny\` |
| Licence | MIT |
| Created | 2026-01-02 |
| Input | 8 x 8, shorter side 8 |
| Scores | one label an image (softmax) |
| accuracy | 91.5 |
| note | 2 + 2 |

## Labels

0. oak
1. beech
`,
  )
  await domains.put('bare', pack(null), { activate: true })
  t.match(
    (await app.inject('/v1/domains/bare/card')).body,
    /^# bare\n(.*\n)*None: the domain has no classifier/,
  )
})

t.test('texts of a pack stay text', async (t) => {
  const { app, domains } = await testApp(t)
  const hostile = pack(['[x](http://evil.example)', '- a\n# b', '`c` | d'], {
    name: '<script>alert(1)</script>',
    description: '1. ![x](//evil.example)\u202e\nwww.evil.example a@b.example',
  })
  await domains.put('hostile', hostile, { activate: true })
  const { body } = await app.inject('/v1/domains/hostile/card')
  t.match(body, '# \\<script\\>alert(1)\\</script\\>')
  t.match(body, '1\\. \\!\\[x\\](//evil.example) www\\.evil.example a\\@b.example')
  t.match(body, '0. \\[x\\](http\\://evil.example)\n1. \\- a \\# b\n2. \\`c\\` \\| d\n')
})

t.test('long lists of labels are cut', async (t) => {
  const { app, domains } = await testApp(t)
  const labels = Array.from({ length: 250 }, (_, index) => `class ${index}`)
  await domains.put('many', pack(labels), { activate: true })
  const { body } = await app.inject('/v1/domains/many/card')
  t.match(body, '199. class 199\n\nand 50 more')
  t.notMatch(body, 'class 200')
  t.equal((await app.inject('/v1/domains/many')).json().card.labels.length, 250)
})
