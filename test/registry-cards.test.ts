/** Cards of packs: read once for all who ask at once, and kept within bounds. */
import t from 'tap'
import { FacetError } from '../src/errors.js'
import { Cards } from '../src/registry/cards.js'
import { ManualClock, settle } from './manual-clock.js'
import { makePack } from './registry-rig.js'

const made = makePack(1, { name: 'One' })

/** Cards of packs that are `made` under any version, the versions that were read, and how many at once. */
function cards({ bytes } = made) {
  const read: string[] = []
  let reading = 0
  const most = { reading: 0 }
  const source = {
    read: async (version: string) => {
      read.push(version)
      most.reading = Math.max(most.reading, ++reading)
      await settle()
      reading--
      if (version === 'damaged') throw new FacetError('domain_failed', 'The pack has changed on disk.')
      // The caller owns what it gets, and frees it.
      return { bytes: new Uint8Array(bytes), tier: 'store' as const }
    },
  }
  return { cards: new Cards(source, new ManualClock()), read, most }
}

t.test('a pack is read once, by however many it is asked for', async (t) => {
  const { cards: all, read } = cards()
  const [one, two] = await Promise.all([all.read('a'), all.read('a')])
  t.match([one, two, await all.read('a')], [{ name: 'One' }, { name: 'One' }, { name: 'One' }])
  t.same(read, ['a'])
})

t.test('a failure is told each time and not kept', async (t) => {
  const { cards: all, read } = cards()
  for (let count = 0; count < 2; count++) await t.rejects(all.read('damaged'), { code: 'domain_failed' })
  t.same(read, ['damaged', 'damaged'])
})

t.test('the cards that were asked for last are kept', async (t) => {
  const { cards: all, read } = cards()
  await all.read('first')
  await all.read('second')
  for (let count = 0; count < 254; count++) await all.read(`other ${count}`)
  await all.read('first')
  await all.read('one more')
  read.length = 0
  await all.read('first')
  await all.read('second')
  t.same(read, ['second'])
})

t.test('packs are read one at a time, and not for those who left', async (t) => {
  const { cards: all, read, most } = cards()
  const client = new AbortController()
  const asked = ['a', 'b', 'c'].map((version) => all.read(version))
  const left = t.rejects(all.read('d', { signal: client.signal }), { code: 'client_closed' })
  client.abort()
  await Promise.all([...asked, left])
  t.same(read, ['a', 'b', 'c'])
  t.equal(most.reading, 1)
})

t.test('cards with much text are kept as far as their bytes are within bounds', async (t) => {
  const description = 'x'.repeat(900_000)
  const { cards: all, read } = cards(makePack(1, { description }))
  const versions = Array.from({ length: 12 }, (_, index) => `${index}`)
  for (const version of [...versions, '11', '0']) await all.read(version)
  t.same(read, [...versions, '0'])
})
