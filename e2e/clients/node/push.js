'use strict';

const { emit, logger } = require('./events');
const body = require('./body');

const sleep = ms => new Promise(resolve => setTimeout(resolve, ms));

// A push consumer that prints every message and every change of its assigned queues.
module.exports = async function push(options, context) {
  const failFirst = options.number('fail-first', 0);
  const failOnly = options.all('fail-only');
  let failAlways = options.flag('fail-always');
  const expect = options.number('expect', -1);
  const lingerMs = options.number('linger-ms', 0);
  const idleMs = options.number('idle-ms', -1);
  const consumeMs = options.number('consume-ms', 0);
  const printProperties = options.flag('properties');
  const topics = options.all('topic');
  const sub = options.has('sql') ? { expressionType: 'SQL92', subString: options.text('sql') } : options.text('sub', '*');
  const settings = {
    httpclient: require('urllib'),
    nameSrv: context.namesrv,
    consumerGroup: options.required('group'),
    isBroadcast: options.choice('model', 'clustering', 'broadcasting') === 'broadcasting',
    // Keeps the offsets of broadcasting in a file.
    persistent: true,
    consumeFromWhere: options.choice('from', 'last', 'first') === 'first' ? 'CONSUME_FROM_FIRST_OFFSET' : 'CONSUME_FROM_LAST_OFFSET',
    maxReconsumeTimes: options.number('max-reconsume', 16),
    instanceName: options.text('instance', `node-${process.pid}`),
    logger,
  };
  options.refuseUnknown();

  const { Consumer } = require('ali-ons');
  const consumer = new Consumer(settings);
  consumer.on('error', error => console.error(error.message));
  const attempts = new Map();
  const consumed = new Set();
  let failures = 0;
  let lastArrival = Date.now();
  for (const topic of topics) {
    consumer.subscribe(topic, sub, async (message, queue) => {
      lastArrival = Date.now();
      const name = body.label(message.body);
      // This client shows the offset id, which changes with every retry.
      const identity = `${message.originMessageId || message.msgId}/${name}`;
      const attempt = (attempts.get(identity) || 0) + 1;
      attempts.set(identity, attempt);
      const bad = (!failOnly.length || failOnly.includes(name)) && (failAlways || attempt <= failFirst);
      emit('message', {
        body: name, size: message.body.length, crc: body.crc(message.body), topic: message.topic, queueId: message.queueId,
        queueOffset: Number(message.queueOffset), logOffset: Number(message.commitLogOffset), msgId: message.msgId,
        reconsumeTimes: message.reconsumeTimes, bornTimestamp: Number(message.bornTimestamp), storeTimestamp: Number(message.storeTimestamp),
        arrivedMs: lastArrival, broker: queue && queue.brokerName, tags: message.tags, keys: message.keys, sysFlag: message.sysFlag,
        bornHost: message.bornHost, storeHost: message.storeHost, properties: printProperties ? message.properties : undefined,
        attempt, result: bad ? 'LATER' : 'OK',
      });
      await sleep(consumeMs);
      if (bad) {
        failures++;
        return Consumer.ACTION_RETRY;
      }
      consumed.add(identity);
    });
  }
  await consumer.ready();
  emit('started', { clientId: consumer.clientId });
  let stop = false;
  context.onLine(line => {
    stop = stop || line === 'stop';
    failAlways = line === 'fail' || failAlways && line !== 'succeed';
    emit('control', { line });
  });
  let reachedAt = 0;
  let held = '';
  while (!stop && !context.expired()) {
    held = printAssignment(consumer, held);
    if (expect >= 0 && consumed.size >= expect) {
      reachedAt = reachedAt || Date.now();
      if (Date.now() - reachedAt >= lingerMs) {
        break;
      }
    }
    if (idleMs >= 0 && Date.now() - lastArrival >= idleMs) {
      break;
    }
    await sleep(50);
  }
  const timeout = context.expired();
  await consumer.close();
  emit('stopped', { consumed: consumed.size, failures, timeout });
  return expect < 0 || consumed.size >= expect;
};

function printAssignment(consumer, before) {
  const queues = [];
  for (const { messageQueue } of consumer.processQueueTable.values()) {
    if (!messageQueue.topic.startsWith('%RETRY%')) {
      queues.push(`${messageQueue.topic}@${messageQueue.brokerName}@${messageQueue.queueId}`);
    }
  }
  queues.sort();
  const now = queues.join();
  if (now !== before) {
    emit('assigned', { count: queues.length, queues });
  }
  return now;
}
