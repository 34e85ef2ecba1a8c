/**
 * Loaded into the real program and its threads before anything else. SIGUSR2 makes each lane of the engine end, and
 * later ones end as they start; the next SIGUSR2 lets new ones live.
 */
import { BroadcastChannel, getEnvironmentData, isMainThread, setEnvironmentData } from 'node:worker_threads'
import { loseLane, onNativeRuns } from './native-control.mjs'

const channel = new BroadcastChannel('mortal-engine')
channel.unref()
if (isMainThread) {
  let deadly = false
  process.on('SIGUSR2', () => {
    deadly = !deadly
    setEnvironmentData('deadly', deadly)
    if (deadly) channel.postMessage('end')
    if (deadly) loseLane()
  })
  const starting = () => {
    if (deadly) throw new Error('exit code 3')
  }
  onNativeRuns({ starting })
} else {
  if (getEnvironmentData('deadly') === true) process.exit(3)
  channel.onmessage = () => process.exit(9)
}
