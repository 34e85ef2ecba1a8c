/**
 * Loaded into the real program and its threads before anything else. SIGUSR2 makes each thread of the engine
 * exit, and later ones exit as they start; the next SIGUSR2 lets new threads live.
 */
import { BroadcastChannel, getEnvironmentData, isMainThread, setEnvironmentData } from 'node:worker_threads'

const channel = new BroadcastChannel('mortal-engine')
channel.unref()
if (isMainThread) {
  let deadly = false
  process.on('SIGUSR2', () => {
    deadly = !deadly
    setEnvironmentData('deadly', deadly)
    if (deadly) channel.postMessage('end')
  })
} else {
  if (getEnvironmentData('deadly') === true) process.exit(3)
  channel.onmessage = () => process.exit(9)
}
