/**
 * Dedicated sessions in their own process, so that their memory can be measured.
 *
 * Arguments: `FleetOptions` as JSON, and a folder for the family.
 */
import { DedicatedFleet, type FleetOptions } from './dedicated.js'
import { dedicatedOf, makeFamily, randomBackbone, randomImages, randomPack } from '../networks.js'
import { answer } from '../processes.js'

const [options, dir] = process.argv.slice(2) as [string, string]
const fleet = new DedicatedFleet(JSON.parse(options) as FleetOptions)
const family = await makeFamily(randomBackbone(), dir)
const [image] = randomImages(family, 1)
const { height, width } = family.manifest.input
const network = (await dedicatedOf(family))(randomPack(family, 1))
let opened = 0

answer<({ type: 'hello' } | { type: 'grow'; to: number }) & { id: number }>(
  async (question) => {
    if (question.type === 'hello') return null
    await fleet.open(question.to, () => network, opened)
    // Run each once: what a session allocates at its first run belongs to its memory.
    for (; opened < question.to; opened++) await fleet.run(opened, image!.slice(), [1, height, width, 3])
    return null
  },
  () => fleet.close(),
)
