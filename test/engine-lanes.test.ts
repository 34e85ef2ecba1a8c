/** The choice of the lane for a run. */
import t from 'tap'
import { imageBytes, startEngine } from './engine-rig.js'
import { Fault } from './faulty-worker-control.mjs'

const images = (count: number) => ({
  pixels: new Uint8Array(count * imageBytes),
  rows: new Int32Array(count),
})

t.test('a run goes to the lane with the least to do, however many runs that are', async (t) => {
  const { engine, control } = await startEngine(t, { bankMode: 'shared', lanes: 2 })
  control.nextRun(Fault.waits)
  const long = engine.run(images(4), 1)
  await control.inRun()
  const short = engine.run(images(1), 1)
  // One run is under way in each lane now: four images in the first, one in the second.
  let answered = false
  const next = engine.run(images(1), 1).then(() => {
    answered = true
  })
  const last = engine.run(images(1), 1)
  await Promise.all([short, last])
  t.ok(answered, 'not behind the long run')
  control.release()
  await Promise.all([long, next])
})
