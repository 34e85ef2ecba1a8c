/** Which lane a run goes to. */
import t from 'tap'
import { family, imageBytes, startEngine } from './engine-rig.js'
import { Fault } from './faulty-worker-control.js'
import { sidesOf } from '../src/engine/messages.js'

const images = (count: number) => ({
  pixels: new Uint8Array(count * imageBytes),
  rows: new Int32Array(count),
})

t.test('a run goes to the lane with the least to do, however many runs that are', async (t) => {
  const { engine, control } = await startEngine(t, { bankMode: 'shared', lanes: 2 })
  control.nextRun(Fault.waits)
  const long = engine.run(images(4), 1)
  await control.inRun()
  const { height, width } = sidesOf(family.manifest.input, true)
  const canary = engine.run(
    { pixels: new Uint8Array(height * width * 3), rows: Int32Array.of(0), small: true },
    1,
  )
  // One run is under way in each lane now; a sixteenth of an image in the second.
  let answered = false
  const next = engine.run(images(1), 1).then(() => {
    answered = true
  })
  const last = engine.run(images(1), 1)
  await Promise.all([canary, last])
  t.ok(answered, 'not behind the long run')
  control.release()
  await Promise.all([long, next])
})
