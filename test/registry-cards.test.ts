/** Cards of packs: read once for all who ask at once, and kept within bounds. */
import t from 'tap'
import { FacetError } from '../src/errors.js'
import { Cards } from '../src/registry/cards.js'
import { makePack } from './registry-rig.js'

const made = makePack(1, { name: 'One' })

/** Cards of packs that are `made` under any version, and the versions that were read. */
function cards() {
  const read: string[] = []
  const source = {
    read: async (version: string) => {
      read.push(version)
      if (version === 'damaged') throw new FacetError('domain_failed', 'The pack has changed on disk.')
      // The caller owns what it gets, and frees it.
      return { bytes: new Uint8Array(made.bytes), tier: 'store' as const }
    },
  }
  return { cards: new Cards(source), read }
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
